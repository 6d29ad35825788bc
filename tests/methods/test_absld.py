"""ABSLD: temperatures by hand, reduction to RSLAD, and the released code's aliasing."""

from __future__ import annotations

import math

import pytest
import torch
from torch.testing import assert_close

from fairbench.errors import BadInput
from fairbench.losses import kl_divergence
from fairbench.methods import METHODS
from fairbench.methods.absld import ABSLDRule
from fairbench.methods.base import EpochState, StepLoss

LN3 = math.log(3)


def rule_with_risks(robust, natural=None, **hyper):
    """A rule that saw one sample of each class with these losses (None: the class never appeared)."""
    rule = ABSLDRule(len(robust), **hyper)
    for meter, values in ((rule.robust_risk, robust), (rule.natural_risk, natural or [1.0] * len(robust))):
        seen = [c for c, value in enumerate(values) if value is not None]
        meter.add(torch.tensor(seen), torch.tensor([values[c] for c in seen]))
    return rule


def update(rule, *, lr_factor=1.0):
    rule.begin_epoch(EpochState(1, 10, lr_factor))
    return rule.robust_temperature.tolist()


def test_update_by_hand():
    """Risks 4, 1, 1: mean 2, gaps 2, -1, -1, divided by 2: 1, -.5, -.5; rate .1: T = .9, 1.05, 1.05.

    The hard class gets the sharper label, and the largest gap moves by exactly the rate.
    """
    assert_close(update(rule_with_risks([4.0, 1.0, 1.0])), [0.9, 1.05, 1.05])


def test_a_second_epoch_starts_from_its_own_risks():
    """The meter was emptied: risks 1, 1, 4 give gaps -.5, -.5, 1, so T = .95, 1.1, .95 after .9, 1.05, 1.05."""
    rule = rule_with_risks([4.0, 1.0, 1.0])
    update(rule)
    rule.robust_risk.add(torch.arange(3), torch.tensor([1.0, 1.0, 4.0]))
    assert_close(update(rule), [0.95, 1.10, 0.95])


def test_rate_decays_with_the_learning_rate():
    """The epoch about to start runs at a tenth of the learning rate: moves of .01 and .005."""
    assert_close(update(rule_with_risks([4.0, 1.0, 1.0]), lr_factor=0.1), [0.99, 1.005, 1.005])


def test_clamped_on_both_sides():
    """Rate 10: 1 - 10 and 1 + 5, clamped to [.5, 5]."""
    assert_close(update(rule_with_risks([4.0, 1.0, 1.0], rate=10)), [0.5, 5.0, 5.0])
    narrow = rule_with_risks([4.0, 1.0, 1.0], rate=10, min_temperature=0.25, max_temperature=3)
    assert_close(update(narrow), [0.25, 3.0, 3.0])


def test_risks_are_means_so_that_frequency_does_not_count():
    """Class 0 has three samples of loss 1, class 1 one of loss 2: class 1's mean is larger, class 0's sum."""
    rule = ABSLDRule(2)
    rule.robust_risk.add(torch.tensor([0, 0, 0, 1]), torch.tensor([1.0, 1.0, 1.0, 2.0]))
    rule.natural_risk.add(torch.tensor([0, 1]), torch.tensor([1.0, 1.0]))
    assert_close(update(rule), [1.1, 0.9])


def test_absent_class_keeps_its_temperature_and_does_not_enter_the_mean():
    """Risks 3, absent, 1: mean 2, gaps 1 and -1."""
    assert_close(update(rule_with_risks([3.0, None, 1.0])), [0.9, 1.0, 1.1])


@pytest.mark.parametrize("risks", [[2.0, 2.0, 2.0], [None, 1.5, None], [None, None, None]])
def test_no_gap_no_move(risks):
    rule = ABSLDRule(3)
    seen = [c for c, value in enumerate(risks) if value is not None]
    if seen:
        rule.robust_risk.add(torch.tensor(seen), torch.tensor([risks[c] for c in seen]))
    assert update(rule) == [1.0, 1.0, 1.0]


def test_natural_and_robust_temperatures_are_separate():
    rule = rule_with_risks([4.0, 1.0, 1.0], natural=[1.0, 1.0, 4.0])
    update(rule)
    assert_close(rule.natural_temperature.tolist(), [1.05, 1.05, 0.9])
    assert_close(rule.robust_temperature.tolist(), [0.9, 1.05, 1.05])


def test_observes_hard_label_losses_of_both_images(tiny):
    """Logits (ln 3, 0) with y = 0 cost ln(4/3), (0, 0) cost ln 2."""
    rule, batch = ABSLDRule(2), tiny.batch([0, 0])
    logits = {"natural": torch.tensor([[LN3, 0.0]] * 2), "robust": torch.zeros(2, 2)}
    rule.observe(batch, StepLoss(torch.zeros(()), {}, logits))
    assert_close(rule.natural_risk.pop_mean()[0].item(), math.log(4 / 3))
    assert_close(rule.robust_risk.pop_mean()[0].item(), math.log(2))


def test_temperature_divides_the_teacher_only(pixels_are_logits):
    """The teacher says (2 ln 3, 0), at T = 2 (3/4, 1/4); the student, at T = 1, says the same: loss 0."""
    student, batch = pixels_are_logits([[LN3, 0.0]], [[LN3, 0.0]], [0], robust_x=[[2 * LN3, 0.0]])
    method = METHODS["absld"](2, eps=0.1, teachers={"robust": torch.nn.Flatten()})
    rule = method.rules["absld"]
    rule.robust_temperature[0] = rule.natural_temperature[0] = 2.0
    assert abs(method.loss(student, batch).total.item()) < 1e-12


@pytest.mark.parametrize("aliasing", [False, True])
def test_label_aliasing(tiny, aliasing):
    """T_robust = 2, T_natural = 3: the paper divides by 2 and by 3, the released code by 6 for both labels."""
    method = tiny.method("absld", label_aliasing=aliasing)
    rule = method.rules["absld"]
    rule.robust_temperature.fill_(2.0)
    rule.natural_temperature.fill_(3.0)
    logits = torch.tensor([[6.0, 0.0, 0.0, 12.0]])
    y = torch.tensor([3])
    assert method.tempered(logits, y, "robust")[0, 3] == (2.0 if aliasing else 6.0)
    assert method.tempered(logits, y, "natural")[0, 3] == (2.0 if aliasing else 4.0)


def test_at_temperature_one_it_is_rslad_exactly(tiny):
    results = []
    for name in ("rslad", "absld"):
        network, batch, method = tiny.network(), tiny.batch(), tiny.method(name)
        batch = method.attack(network.eval(), batch, tiny.random(batch))
        step = method.loss(network.train(), batch)
        step.total.backward()
        results.append((batch.adversarial, step.total.detach(), [p.grad for p in network.parameters()]))
    (x_rslad, loss_rslad, grad_rslad), (x_absld, loss_absld, grad_absld) = results
    assert torch.equal(x_rslad, x_absld)
    assert torch.equal(loss_rslad, loss_absld)
    assert all(torch.equal(a, b) for a, b in zip(grad_rslad, grad_absld, strict=True))


def test_the_tempered_label_drives_the_inner_attack(tiny):
    """The examples raise the divergence from the tempered label more than those made for the plain label."""
    method, plain, network, batch = tiny.method("absld"), tiny.method("rslad"), tiny.network().eval(), tiny.batch()
    method.rules["absld"].robust_temperature.fill_(0.5)
    method.rules["absld"].natural_temperature.fill_(5.0)
    batch = method.attack(network, batch, tiny.random(batch))
    other = plain.attack(network, tiny.batch(), tiny.random(batch))
    label = batch.extra["robust_x"] / 0.5
    ours, theirs = (kl_divergence(label, network(b.adversarial)).sum() for b in (batch, other))
    assert not torch.equal(batch.adversarial, other.adversarial)
    assert ours >= theirs


@pytest.mark.parametrize("hyper", [{"min_temperature": 0}, {"min_temperature": 2}, {"max_temperature": 0.9}])
def test_a_range_without_the_start_is_refused(hyper):
    with pytest.raises(BadInput, match="temperatures start at 1"):
        ABSLDRule(3, **hyper)
