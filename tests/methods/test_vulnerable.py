"""Class weights from the robust accuracy of the epoch before, by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch.testing import assert_close

from fairbench.errors import BadInput
from fairbench.methods.base import EpochState, StepLoss
from fairbench.methods.sat import SAT
from fairbench.methods.trades import TRADES
from fairbench.methods.vulnerable import VulnerableRule


def observed(accuracies, **hyper) -> VulnerableRule:
    """A rule that saw 10 images of each class, of which so many tenths were right; None: an absent class."""
    rule = VulnerableRule(len(accuracies), **hyper)
    for c, accuracy in enumerate(accuracies):
        if accuracy is not None:
            rule.robust_accuracy.add(torch.full((10,), c), torch.arange(10) < round(10 * accuracy))
    return rule


def test_by_hand():
    """Accuracies .2 and .6, mean .4, strength 5: e and 1/e, mean 1.54308: 1.76159 and .23841, clamped to .5."""
    rule = observed([0.2, 0.6], strength=5)
    rule.begin_epoch(EpochState(5, 10, 1.0))
    assert_close(rule.class_weight.tolist(), [math.e / math.cosh(1), 0.5])
    assert_close(math.e / math.cosh(1), 1.76159, rtol=1e-5, atol=0)


def test_not_before_its_start_and_not_from_what_came_before():
    rule = observed([0.2, 0.6], start=0.5)
    rule.begin_epoch(EpochState(4, 10, 1.0))
    assert rule.class_weight.tolist() == [1, 1]
    rule.begin_epoch(EpochState(5, 10, 1.0))  # nothing was observed since
    assert rule.class_weight.tolist() == [1, 1]


def test_absent_classes_keep_theirs_and_equal_classes_weigh_one():
    rule = observed([0.5, None, 0.5])
    rule.class_weight[1] = 2
    rule.begin_epoch(EpochState(5, 10, 1.0))
    assert rule.class_weight.tolist() == [1, 2, 1]


def test_which_losses_are_weighed():
    y = torch.tensor([0, 1])
    for losses, natural in (("all", [3.0, 0.5]), ("robust", [1.0, 1.0])):
        rule = VulnerableRule(2, losses=losses)
        rule.class_weight.copy_(torch.tensor([3.0, 0.5]))
        assert rule.weight(y, "robust", {}).tolist() == [3.0, 0.5]
        assert rule.weight(y, "natural", {}).tolist() == natural


def test_it_counts_what_the_step_saw(tiny):
    rule, batch = VulnerableRule(4), tiny.batch()
    logits = torch.nn.functional.one_hot(torch.zeros_like(batch.y), 4).double()
    rule.observe(batch, StepLoss(torch.zeros(()), {}, {"robust": logits}))
    assert_close(rule.robust_accuracy.pop_mean().tolist(), [1.0, 0.0, 0.0, 0.0])


@pytest.mark.parametrize("host", [SAT, TRADES])
def test_with_strength_zero_it_changes_nothing(tiny, host):
    batch = tiny.batch()
    totals = []
    for slots in ({}, {"reweight": VulnerableRule}):
        method = host(4, eps=0.1, slots=slots, **({"strength": 0} if slots else {}))
        network = tiny.network()
        attacked = method.attack(network.eval(), batch, tiny.random(batch))
        method.observe(attacked, method.loss(network, attacked))
        method.begin_epoch(EpochState(5, 10, 1.0))
        totals.append(method.loss(network.eval(), attacked).total)
    assert torch.equal(*totals)


@pytest.mark.parametrize("hyper", [{"start": 1.5}, {"min_weight": 2}, {"max_weight": 0.5}, {"losses": "natural"}])
def test_senseless_parameters_are_refused(hyper):
    with pytest.raises(BadInput):
        VulnerableRule(3, **hyper)
