"""Finite logits with a gradient that is NaN: no attack can move, so no attack may call the sample robust."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from fairbench.errors import Refused
from fairbench.evaluation.evaluate import evaluate
from fairbench.evaluation.gradient_watch import GradientWatch


class RootOfZero(nn.Module):
    """The same logits; the gradient of brighter images is NaN, since that of sqrt at 0 is infinite and is times 0."""

    def __init__(self, network: nn.Module, share: float) -> None:
        super().__init__()
        self.network, self.share = network, share

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        zero = (x - x.detach()).flatten(1).sum(1)
        bright = x.detach().flatten(1).mean(1) > self.share
        root = torch.where(bright, zero, zero + 1).sqrt()
        return self.network(x) + 0 * root[:, None]


@pytest.mark.parametrize(
    "attack",
    ["fgsm", "pgd5", "pgd5(restarts=2,early_stop=yes)", "cw5", "tpgd5(T=0.5)", "kl5"]
    + [f"aa(parts={part},steps=5)" for part in ("apgd-ce", "apgd-dlr", "apgd-t", "fab", "fab-t")],
)
@pytest.mark.parametrize("norm", ["Linf", "L2"])
def test_a_gradient_that_is_nan_is_refused(attack, norm, model, dataset):
    # In L2 PGD's iterate itself becomes NaN, which is refused as having left the ball.
    words = "nan" if norm == "L2" and not attack.startswith("aa") else "NaN or infinite logits or gradients on "
    with pytest.raises(Refused, match=words):
        evaluate(RootOfZero(model, 0.0).eval(), dataset, attack, norm=norm, eps="0.02", accept=["low-accuracy"])


@pytest.mark.parametrize("norm", ["Linf", "L2"])
@pytest.mark.parametrize("share", [0.0, 0.45])
def test_the_packages_gradients_are_watched_too(norm, share, model, dataset):
    words = "aa/apgd-ce met NaN or infinite logits or gradients on "
    with pytest.raises(Refused, match=words):
        evaluate(
            RootOfZero(model, share).eval(), dataset, "aa", norm=norm, eps="0.02",
            engine="reference", accept=["low-accuracy"],
        )  # fmt: skip


def test_part_of_a_batch_is_told_as_such(model):
    watch = GradientWatch(RootOfZero(model, 0.0).eval(), 4)
    x = torch.full((2, 1, 6, 6), 0.5, requires_grad=True)
    watch(x).sum().backward()
    assert watch.noted()
    watch.refuse(torch.zeros(4, dtype=torch.bool), "aa/fab-t")  # nobody is robust: nothing is claimed
    with pytest.raises(Refused, match="aa/fab-t met NaN or infinite logits or gradients on at least one of 3 images"):
        watch.refuse(torch.tensor([True, True, False, True]), "aa/fab-t")


def test_finite_gradients_change_nothing(model, dataset):
    watched = RootOfZero(model, 2.0).eval()  # no image is that bright
    attacks = ["pgd5", "aa(parts=apgd-ce+fab-t,steps=5)"]
    one, other = (evaluate(network, dataset, attacks, eps="0.02") for network in (watched, model))
    assert one.outcomes.frame.equals(other.outcomes.frame)
