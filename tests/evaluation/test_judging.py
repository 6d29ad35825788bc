from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from fairbench.errors import Refused
from fairbench.evaluation.judging import check_example, check_logits, distance, into_ball, judge
from fairbench.threat import Threat

X = 0.5 * torch.ones(2, 1, 2, 2)
LINF = Threat.parse("Linf", "0.1")


def moved(*pixels: float) -> torch.Tensor:
    x = X.clone()
    x[1, 0] = torch.tensor(pixels).view(2, 2) + 0.5
    return x


def test_distances_by_hand():
    """delta = (3, -4, 0, 0) / 100: Linf 0.04, L2 0.05, L1 0.07."""
    x_adv = moved(0.03, -0.04, 0, 0)
    for norm, expected in (("Linf", 0.04), ("L2", 0.05), ("L1", 0.07)):
        torch.testing.assert_close(
            distance(x_adv, X, norm), torch.tensor([0.0, expected], dtype=torch.float64), rtol=0, atol=1e-7
        )


@pytest.mark.parametrize(
    "x_adv",
    [
        moved(0.1001, 0, 0, 0),
        moved(math.nan, 0, 0, 0),
        moved(math.inf, 0, 0, 0),
        torch.where(X > 2, X, X - 0.6),
        X.double(),
        X[:1],
        X[:, :, :1],
    ],
    ids=["too far", "nan", "inf", "below 0", "another type", "fewer images", "another shape"],
)
def test_leaving_the_threat_model_is_refused(x_adv):
    with pytest.raises(Refused, match="attack 'cheat'") as error:
        check_example(x_adv, X, attack="cheat", threat=Threat.parse("Linf", "0.1"))
    assert error.value.check == "left-ball"
    assert not error.value.overridable


@pytest.mark.parametrize(("pixel", "step"), [(0.0, -1e-4), (1.0, 1e-4)])
def test_a_pixel_outside_the_range_is_refused_although_it_is_near(pixel, step):
    x = torch.full((1, 1, 2, 2), pixel)
    with pytest.raises(Refused, match="pixel range"):
        check_example(x + step, x, attack="cheat", threat=LINF)


def test_rounding_is_forgiven_and_l2_counts_all_pixels():
    check_example(X + 0.1, X, attack="ok", threat=LINF)
    check_example(X.clone(), X, attack="ok", threat=Threat.parse("Linf", "0"))
    with pytest.raises(Refused):
        check_example(X + 0.1, X, attack="cheat", threat=Threat.parse("L2", "0.1"))


@pytest.mark.parametrize(("norm", "expected"), [("Linf", 0.04), ("L2", 0.05), ("L1", 0.07)])
def test_a_row_has_the_linf_distance_and_that_of_the_threat(norm, expected):
    """delta = (3, -4, 0, 0) / 100 for the second sample."""
    threat, y, index = Threat.parse(norm, "0.1"), torch.tensor([2, 1]), torch.tensor([0, 1])
    rows = judge(Fixed(), moved(0.03, -0.04, 0, 0), X, y, index, attack="a", threat=threat).frame
    assert rows["linf"].tolist() == pytest.approx([0, 0.04], abs=1e-7)
    assert rows["distance"].tolist() == pytest.approx([0, expected], abs=1e-7)


@pytest.mark.parametrize(("norm", "eps"), [("Linf", "0.1"), ("L2", "0.15"), ("L1", "0.3")])
def test_into_ball(norm, eps):
    threat = Threat.parse(norm, eps)
    far = (X + torch.tensor([0.2, -0.3, 0.05, 0.0]).view(1, 1, 2, 2)).clamp(0, 1)
    inside = into_ball(far, X, threat)
    assert (distance(inside, X, norm) <= threat.eps * (1 + 1e-5)).all()
    torch.testing.assert_close(distance(inside, X, norm), torch.full((2,), threat.eps, dtype=torch.float64))
    near = X + 0.01
    assert torch.equal(into_ball(near, X, threat), near)


@pytest.mark.parametrize("norm", ["Linf", "L2", "L1"])
def test_into_ball_is_into_the_pixels_too(norm):
    """An example that is near enough but a little outside [0, 1], as rounding leaves it."""
    threat = Threat.parse(norm, "0.5")
    x = torch.tensor([0.9995, 0.0005, 0.5, 0.5]).view(1, 1, 2, 2)
    inside = into_ball(x + torch.tensor([0.001, -0.001, 0.0, 0.0]).view(1, 1, 2, 2), x, threat)
    assert inside.flatten().tolist() == [1.0, 0.0, 0.5, 0.5]


def test_nan_logits_are_refused():
    logits = torch.zeros(3, 2)
    check_logits(logits, what="natural images")
    for bad in (math.nan, math.inf):
        logits[1, 0] = bad
        with pytest.raises(Refused, match="1 of 3") as error:
            check_logits(logits, what="natural images")
        assert error.value.check == "nan-logits"


class Fixed(nn.Module):
    def forward(self, x):
        return torch.tensor([[2.0, 0.0, 1.0], [0.0, 3.0, 0.0]])


def test_a_row_by_hand():
    """Sample 0: label 2, logits (2, 0, 1): margin 1 - 2 = -1, loss log(1 + e^1 + e^-1); sample 1: margin 3."""
    y, index = torch.tensor([2, 1]), torch.tensor([8, 5])
    rows = judge(Fixed(), moved(0, 0.05, 0, 0), X, y, index, attack="a", threat=Threat.parse("L2", "0.2")).frame
    assert rows["index"].tolist() == [5, 8]
    assert rows["label"].tolist() == [1, 2]
    assert rows["prediction"].tolist() == [1, 0]
    assert rows["margin"].tolist() == [3.0, -1.0]
    assert rows["loss"].tolist() == pytest.approx(
        [math.log(1 + 2 * math.exp(-3)), math.log(1 + math.exp(1) + math.exp(-1))]
    )
    assert rows["linf"].tolist() == pytest.approx([0.05, 0])
    assert rows["distance"].tolist() == pytest.approx([0.05, 0])
