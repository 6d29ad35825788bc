"""WAT: hedging by hand, and reduction to twice TRADES."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch.testing import assert_close

from fairbench.methods.base import EpochState
from fairbench.methods.trades import TRADES
from fairbench.methods.wat import WAT, WATRule
from fairbench.outcomes import Outcomes

LN3 = math.log(3)
KL = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)


def state(losses, labels, epoch=1):
    table = Outcomes.of_columns("natural", index=range(len(labels)), label=labels, prediction=labels)
    return EpochState(epoch, 100, 1.0, table, {"wat": np.array(losses, dtype=np.float64)})


def experts(rule):
    return [*rule.class_weight.tolist(), rule.average_weight.item()]


def test_update_by_hand():
    """Validation losses 1 and 3 per class, 2 on average, rate .1: 2 softmax(.1, .3, .2).

    e^.1 = 1.105171, e^.3 = 1.349859, e^.2 = 1.221403, sum 3.676433: .601219, .734331, .664450.
    """
    rule = WATRule(2)
    rule.begin_epoch(state([0.5, 1.5, 3.0, 3.0], [0, 0, 1, 1]))
    assert_close(experts(rule), [0.601219, 0.734331, 0.664450], rtol=1e-5, atol=0)
    assert_close(rule.weight(torch.tensor([0, 1]), "natural", {}).tolist(), [1.265669, 1.398781], rtol=1e-5, atol=0)


def test_losses_add_up_over_epochs():
    """The same losses again: 2 softmax(.2, .6, .4)."""
    rule = WATRule(2)
    for epoch in (1, 2):
        rule.begin_epoch(state([1.0, 3.0], [0, 1], epoch))
    total = math.exp(0.2) + math.exp(0.6) + math.exp(0.4)
    assert_close(experts(rule), [2 * math.exp(v) / total for v in (0.2, 0.6, 0.4)])


def test_the_average_is_over_samples():
    """Three samples of class 0 with loss 1, one of class 1 with loss 3: 1.5, not 2."""
    rule = WATRule(2)
    rule.begin_epoch(state([1.0, 1.0, 1.0, 3.0], [0, 0, 0, 1]))
    assert_close(rule.cumulative_loss.tolist(), [1.0, 3.0, 1.5])


def test_the_initial_weights_are_not_judged():
    rule = WATRule(2)
    rule.begin_epoch(EpochState(0, 100, 1.0))
    assert experts(rule) == [1.0, 1.0, 1.0]


def test_a_class_without_validation_images_adds_nothing():
    rule = WATRule(3)
    rule.begin_epoch(state([1.0, 3.0], [0, 2]))
    assert_close(rule.cumulative_loss.tolist(), [1.0, 0.0, 3.0, 2.0])


def test_huge_sums_do_not_overflow():
    """After many epochs all weight is on one expert: K."""
    rule = WATRule(2)
    rule.begin_epoch(state([1e5, 2e5], [0, 1]))
    assert_close(experts(rule), [0.0, 2.0, 0.0])


def test_validation_loss_by_hand():
    """f(x) = (3/4, 1/4), f(x_adv) = (1/2, 1/2), y = 0: ln(4/3) + 6 * 0.130812."""
    natural, robust = torch.tensor([[LN3, 0.0]]), torch.zeros(1, 2)
    terms = WATRule(2).validation_terms(torch.tensor([0]), natural, robust)
    assert_close(terms["wat"].item(), math.log(4 / 3) + 6 * KL, rtol=1e-5, atol=0)


def test_the_validation_loss_has_the_methods_beta_unless_given():
    assert WAT(4, eps=0.1).hyper()["wat.beta"] == 6
    assert WAT(4, eps=0.1, beta=2).hyper()["wat.beta"] == 2
    assert WAT(4, eps=0.1, beta=2, **{"wat.beta": 5}).hyper()["wat.beta"] == 5


def test_at_first_it_is_twice_trades_exactly(tiny):
    results = []
    for method in (TRADES(4, eps=0.1), WAT(4, eps=0.1)):
        network, batch = tiny.network(), tiny.batch()
        batch = method.attack(network.eval(), batch, tiny.random(batch))
        step = method.loss(network.train(), batch)
        step.total.backward()
        results.append((batch.adversarial, step.total.detach(), [p.grad for p in network.parameters()]))
    assert torch.equal(results[0][0], results[1][0])
    assert torch.equal(2 * results[0][1], results[1][1])
    assert all(torch.equal(2 * a, b) for a, b in zip(results[0][2], results[1][2], strict=True))


def test_at_its_common_scale_it_is_trades(tiny):
    results = []
    for method in (TRADES(4, eps=0.1), WAT(4, eps=0.1, scale=WAT.common_scale)):
        network, batch = tiny.network(), tiny.batch()
        results.append(method.loss(network, method.attack(network.eval(), batch, tiny.random(batch))).total.detach())
    assert torch.equal(*results)


def test_both_losses_are_weighed_by_class_plus_average(tiny):
    method, network, batch = WAT(4, eps=0.1), tiny.network(), tiny.batch()
    method.rules["wat"].class_weight.copy_(torch.tensor([0.1, 0.5, 1.0, 2.0]))
    method.rules["wat"].average_weight.fill_(0.4)
    batch = method.attack(network.eval(), batch, tiny.random(batch))
    step = method.loss(network, batch)
    w = torch.tensor([0.5, 0.9, 1.4, 2.4])[batch.y]
    assert_close(step.total, (w * (step.terms["natural"] + 6 * step.terms["robust"])).mean())
