"""The rules of a cascade, with parts whose work is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from fairbench.errors import Refused
from fairbench.evaluation.blocks import Work
from fairbench.evaluation.cascade import Part, part_rows
from fairbench.evaluation.judging import judge
from fairbench.threat import Threat

THREAT = Threat.parse("Linf", "0.2")
X = 0.5 * torch.ones(5, 1, 2, 2)
Y = torch.zeros(5, dtype=torch.int64)
INDEX = torch.tensor([2, 3, 5, 7, 11])


class Brightness(nn.Module):
    """Class 0 while the first pixel is below 0.6, else class 1."""

    def forward(self, x):
        value = x[:, 0, 0, 0] - 0.6
        return torch.stack([-value, value], 1)


def natural(x=X, y=Y):
    return judge(Brightness(), x, x, y, INDEX, attack="natural", threat=THREAT)


def lift(amounts, seen=None):
    """A part that raises the first pixel by the amount of each sample of the block, found by its second pixel."""

    def run(x, y, **_):
        if seen is not None:
            seen.append((x[:, 0, 0, 1] * 10 - 4).round().long().tolist())
        x_adv = x.clone()
        x_adv[:, 0, 0, 0] += torch.tensor(amounts)[: len(x)]
        return x_adv

    return run


def run_part(name, run, before, y=Y, threat=THREAT):
    return part_rows(Part(name, run), Brightness(), Work(X, y, INDEX, before), attack="aa", threat=threat)


def test_rows_are_cumulative_and_survivors_only():
    sizes = []

    def counted(amounts):
        run = lift(amounts)

        def count(x, y, **_):
            sizes.append(len(x))
            return run(x, y)

        return count

    first = run_part("one", counted([0.15, 0.0, 0.0, 0.0, 0.2]), natural())
    second = run_part("two", counted([0.0, 0.15, 0.0]), first)
    assert sizes == [5, 3]
    assert first.frame["prediction"].tolist() == [1, 0, 0, 0, 1]
    # The three survivors are samples 3, 5, 7; the second of them is broken.
    assert second.frame["prediction"].tolist() == [1, 0, 1, 0, 1]
    assert second.attacks == ("aa/two",)
    assert second.frame["index"].tolist() == INDEX.tolist()
    # Broken samples keep the numbers of their example; nothing was found for the others.
    np.testing.assert_allclose(second.frame["linf"], [0.15, np.nan, 0.15, np.nan, 0.2], atol=1e-6)
    np.testing.assert_allclose(second.frame["margin"], [-0.1, np.nan, -0.1, np.nan, -0.2], atol=1e-6)
    assert second.frame[["loss", "distance"]].isna().sum().tolist() == [2, 2]


def test_a_naturally_wrong_sample_is_never_attacked_and_keeps_its_prediction():
    y = torch.tensor([0, 1, 0, 0, 0])
    before = natural(y=y)
    seen = []

    def run(x, y, **_):
        seen.append(len(x))
        return x

    rows = run_part("one", run, before, y=y).frame
    assert seen == [4]
    assert rows["prediction"].tolist() == [0] * 5
    assert rows["margin"].isna().all()


def test_without_survivors_nothing_runs():
    y = torch.ones(5, dtype=torch.int64)

    def run(x, y, **_):
        raise AssertionError

    run_part("one", run, natural(y=y), y=y)


def test_a_claim_that_the_judge_does_not_confirm_keeps_the_sample_in():
    """The judge errs from 0.6 on: an example at 0.57 is no success, whatever the attack believes."""
    confirmed = []

    def run(x, y, *, success, **_):
        x_adv = lift([0.07, 0.15, 0.07, 0.07, 0.07])(x, y)
        confirmed.append(success(x_adv[1:3], torch.tensor([1, 2])).tolist())
        return x_adv

    first = run_part("one", run, natural())
    assert confirmed == [[True, False]]
    assert first.frame["prediction"].tolist() == [0, 1, 0, 0, 0]
    assert first.frame["margin"].isna().tolist() == [True, False, True, True, True]


@pytest.mark.parametrize(("over", "leaves"), [(3e-7, False), (1e-3, True)])
def test_a_sample_does_not_leave_on_an_error_within_rounding(over, leaves):
    """Its last verdict is made in another batch: what errs by less than 1e-5 of the largest logit is attacked on."""

    def run(x, y, *, success, **_):
        x_adv = x.clone()
        x_adv[:, 0, 0, 0] = 0.6 + over
        assert success(x_adv, torch.arange(5)).tolist() == [leaves] * 5
        return x_adv

    network = nn.Sequential(Brightness(), Lifted())
    rows = part_rows(Part("one", run), network, Work(X, Y, INDEX, natural()), attack="aa", threat=THREAT)
    assert not rows.robust("aa/one").any()


class Lifted(nn.Module):
    """Logits of some size, so that a share of them means something."""

    def forward(self, logits):
        return logits + 5 + torch.tensor([0.0, 1e-6])


def test_success_counts_on_the_projected_example():
    """0.60005 with eps 0.09999 is within the slack and is class 1; projected to 0.59999 the judge says class 0."""
    threat = Threat.parse("Linf", "0.09999")
    rows = run_part("one", lift([0.10005] * 5), natural(), threat=threat)
    assert rows.robust("aa/one").all()


@pytest.mark.parametrize("amount", [0.25, float("nan")])
def test_a_part_that_leaves_the_ball_is_refused(amount):
    with pytest.raises(Refused, match="'aa/one'") as error:
        run_part("one", lift([amount] * 5), natural())
    assert error.value.check == "left-ball"
