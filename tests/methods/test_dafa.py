"""DAFA: weights by hand, when they are taken, what they scale, and reduction to TRADES."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from fairbench.errors import BadInput
from fairbench.methods.base import EpochState, StepLoss
from fairbench.methods.dafa import DAFA, DAFARule
from fairbench.methods.sat import SAT
from fairbench.methods.trades import TRADES

SIMILARITY = torch.tensor([[0.6, 0.3, 0.1], [0.2, 0.7, 0.1], [0.05, 0.05, 0.9]])


def weighed(similarity=SIMILARITY, labels=(0, 1, 2), *, epoch=70, epochs=110, num_classes=3, **hyper):
    rule = DAFARule(num_classes, **hyper)
    rule.confusion.add(torch.tensor(labels), similarity)
    rule.begin_epoch(EpochState(epoch, epochs, 1.0))
    return rule


def test_weights_by_hand():
    """Own probabilities .6 < .7 < .9. 0 gets .3 * .7 = .21 from 1 and .1 * .9 = .09 from 2; 1 gets .1 * .9 from 2.

    1 + .21 + .09, 1 - .21 + .09, 1 - .09 - .09; with strength 1.5 the moves are 1.5 times as large.
    """
    assert_close(weighed().class_weight.tolist(), [1.3, 0.88, 0.82], rtol=1e-6, atol=0)
    assert_close(weighed(strength=1.5).class_weight.tolist(), [1.45, 0.82, 0.73], rtol=1e-6, atol=0)


def test_taken_once_from_the_last_epoch_of_the_warm_up():
    assert weighed(epoch=69).class_weight.tolist() == [1.0, 1.0, 1.0]
    assert weighed(epoch=71).class_weight.tolist() == [1.0, 1.0, 1.0]
    rule = weighed(epoch=69)
    rule.confusion.add(torch.tensor([0, 1, 2]), SIMILARITY)
    rule.begin_epoch(EpochState(70, 110, 1.0))
    rule.confusion.add(torch.tensor([0, 1, 2]), SIMILARITY.flip(0))
    rule.begin_epoch(EpochState(71, 110, 1.0))
    assert_close(rule.class_weight.tolist(), [1.3, 0.88, 0.82], rtol=1e-6, atol=0)
    assert_close(weighed(epoch=5, epochs=10, warmup=0.5).class_weight.tolist(), [1.3, 0.88, 0.82], rtol=1e-6, atol=0)


def test_absent_class_keeps_one_and_is_compared_with_none():
    """Without class 1: 0 gets .09 from 2."""
    rule = weighed(SIMILARITY[[0, 2]], labels=(0, 2))
    assert_close(rule.class_weight.tolist(), [1.09, 1.0, 0.91], rtol=1e-6, atol=0)


def test_classes_with_equal_own_probabilities_move_nothing_between_them():
    """Own .5, .5 and .7: 0 gets .2 * .7 = .14 and 1 gets .3 * .7 = .21, both from 2; the released code gives .1 and .15
    less to 0 and 1.
    """
    rule = weighed(torch.tensor([[0.5, 0.3, 0.2], [0.2, 0.5, 0.3], [0.1, 0.2, 0.7]]))
    assert_close(rule.class_weight.tolist(), [1.14, 1.21, 0.65], rtol=1e-6, atol=0)


def test_weights_are_never_negative():
    """1 - 2.1 + .9 and 1 - .9 - .9."""
    assert_close(weighed(strength=10).class_weight.tolist(), [4.0, 0.0, 0.0], rtol=1e-6, atol=0)


def test_observes_the_probabilities_of_the_adversarial_images(tiny):
    rule, batch = DAFARule(2), tiny.batch([0, 0])
    logits = {"robust": torch.log(torch.tensor([[0.75, 0.25], [0.25, 0.75]])), "natural": torch.zeros(2, 2)}
    rule.observe(batch, StepLoss(torch.zeros(()), {}, logits))
    assert_close(rule.confusion.pop_mean()[0].tolist(), [0.5, 0.5])


def results(method, tiny):
    network, batch = tiny.network(), tiny.batch()
    batch = method.attack(network.eval(), batch, tiny.random(batch))
    step = method.loss(network.train(), batch)
    step.total.backward()
    return batch, step, [p.grad for p in network.parameters()]


def test_scales_the_cross_entropy_the_radius_and_the_step_but_not_the_divergence(tiny):
    weight = torch.tensor([1.5, 0.5, 1.0, 1.0])
    method = DAFA(4, eps=0.1)
    method.rules["dafa"].class_weight.copy_(weight)
    batch, step, _ = results(method, tiny)
    w = weight[batch.y]
    assert_close(step.total, (w * step.terms["natural"] + 6 * step.terms["robust"]).mean())
    eps, step_size = method.radius(batch.y)
    assert_close(eps, 0.1 * w)
    assert_close(step_size, 0.1 * 7 / 31 * w)
    distance = (batch.adversarial - batch.x).abs().amax((1, 2, 3))
    assert (distance <= eps + 1e-6).all()
    assert distance[batch.y == 0].min() > 0.1


def test_on_sat_the_only_loss_is_weighed(tiny):
    weight = torch.tensor([1.5, 0.5, 1.0, 1.0])
    method = SAT(4, eps=0.1, slots={"reweight": DAFARule, "remargin": DAFARule})
    method.rules["dafa"].class_weight.copy_(weight)
    batch, step, _ = results(method, tiny)
    assert_close(step.total, (weight[batch.y] * step.terms["robust"]).mean())


@pytest.mark.parametrize(("name", "alpha", "share"), [("rslad", None, 1 / 6), ("ard", 0.4, 0.6)])
def test_on_a_distillation_method_only_the_loss_of_x_is_weighed(tiny, name, alpha, share):
    """The total grows by share * mean((w - 1) * natural term); where alpha is 1 it is refused (test_slots)."""
    weight = torch.tensor([1.5, 0.5, 1.2, 0.8])
    hyper = {} if alpha is None else {"alpha": alpha}
    method = tiny.method(name, slots={"reweight": DAFARule}, **hyper)
    plain = results(method, tiny)[1]
    method.rules["dafa"].class_weight.copy_(weight)
    batch, step, _ = results(method, tiny)
    moved = share * ((weight[batch.y] - 1) * plain.terms["natural"]).mean()
    assert_close(step.total - plain.total, moved, atol=1e-6, rtol=0)
    assert moved.abs() > 1e-5


def test_in_the_warm_up_it_is_trades_exactly(tiny):
    plain, dafa = results(TRADES(4, eps=0.1), tiny), results(DAFA(4, eps=0.1), tiny)
    assert torch.equal(plain[0].adversarial, dafa[0].adversarial)
    assert torch.equal(plain[1].total, dafa[1].total)
    assert all(torch.equal(a, b) for a, b in zip(plain[2], dafa[2], strict=True))


@pytest.mark.parametrize("warmup", [0, 1.1])
def test_a_warm_up_outside_the_schedule_is_refused(warmup):
    with pytest.raises(BadInput, match="warmup is a fraction of the schedule"):
        DAFARule(3, warmup=warmup)
