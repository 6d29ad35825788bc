"""The control: ABSLD's update drives weights, in the other direction; reduction to RSLAD."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from fairbench.errors import BadInput
from fairbench.methods.absld import ABSLDRule
from fairbench.methods.base import EpochState
from fairbench.methods.class_reweighted_kd import ClassReweightedKD, RiskWeightRule
from fairbench.methods.rslad import RSLAD


def with_risks(kind, robust, natural=None, **hyper):
    rule = kind(len(robust), **hyper)
    for meter, values in ((rule.robust_risk, robust), (rule.natural_risk, natural or [1.0] * len(robust))):
        seen = [c for c, value in enumerate(values) if value is not None]
        meter.add(torch.tensor(seen), torch.tensor([values[c] for c in seen]))
    return rule


def update(rule, lr_factor=1.0):
    rule.begin_epoch(EpochState(1, 10, lr_factor))
    return rule.robust_weight.tolist()


def test_update_by_hand():
    """Risks 4, 1, 1: gaps 2, -1, -1, divided by 2; rate .1: 1.1, .95, .95. A tenth of it at a tenth of the rate."""
    assert_close(update(with_risks(RiskWeightRule, [4.0, 1.0, 1.0])), [1.1, 0.95, 0.95])
    assert_close(update(with_risks(RiskWeightRule, [4.0, 1.0, 1.0]), 0.1), [1.01, 0.995, 0.995])


def test_clamped_on_both_sides_and_absent_classes_stay():
    assert_close(update(with_risks(RiskWeightRule, [4.0, 1.0, 1.0], rate=10)), [5.0, 0.5, 0.5])
    assert_close(update(with_risks(RiskWeightRule, [3.0, None, 1.0])), [1.1, 1.0, 0.9])
    assert update(with_risks(RiskWeightRule, [2.0, 2.0])) == [1.0, 1.0]


def test_it_mirrors_absld():
    """Whatever the risks, a weight moves up by what the temperature moves down."""
    robust, natural = [2.0, 0.3, 1.1, 0.9], [0.2, 0.4, 0.1, 0.8]
    ours, absld = with_risks(RiskWeightRule, robust, natural), with_risks(ABSLDRule, robust, natural)
    for rule in (ours, absld):
        rule.begin_epoch(EpochState(1, 10, 0.5))
    assert_close(ours.robust_weight - 1, 1 - absld.robust_temperature)
    assert_close(ours.natural_weight - 1, 1 - absld.natural_temperature)


def results(method, tiny, weights=None):
    network, batch = tiny.network(), tiny.batch()
    batch = method.attack(network.eval(), batch, tiny.random(batch))
    step = method.loss(network.train(), batch)
    step.total.backward()
    return batch, step, [p.grad for p in network.parameters()]


def test_with_weights_of_one_it_is_rslad_exactly(tiny):
    teachers = {"robust": tiny.network(7)}
    plain = results(RSLAD(4, eps=0.1, teachers=teachers), tiny)
    control = results(ClassReweightedKD(4, eps=0.1, teachers=teachers), tiny)
    assert torch.equal(plain[0].adversarial, control[0].adversarial)
    assert torch.equal(plain[1].total, control[1].total)
    assert all(torch.equal(a, b) for a, b in zip(plain[2], control[2], strict=True))


def test_each_loss_has_its_own_weights(tiny):
    method = ClassReweightedKD(4, eps=0.1, teachers={"robust": tiny.network(7)})
    natural, robust = torch.tensor([1.0, 2.0, 0.5, 1.0]), torch.tensor([0.5, 1.0, 3.0, 1.0])
    method.rules["risk-weight"].natural_weight.copy_(natural)
    method.rules["risk-weight"].robust_weight.copy_(robust)
    batch, step, _ = results(method, tiny)
    expected = 5 / 6 * robust[batch.y] * step.terms["robust"] + 1 / 6 * natural[batch.y] * step.terms["natural"]
    assert_close(step.total, expected.mean())


def test_a_range_without_the_start_is_refused():
    with pytest.raises(BadInput, match="weights start at 1"):
        RiskWeightRule(3, min_weight=2)
