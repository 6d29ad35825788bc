"""CFA: radii and betas by hand, reduction to TRADES / (1 + beta) and to SAT, and the gate of its average."""

from __future__ import annotations

import math

import pytest
import torch
from torch.testing import assert_close

from fairbench.methods.base import EpochState, StepLoss
from fairbench.methods.cfa import CFA, CFARule
from fairbench.methods.sat import SAT
from fairbench.methods.trades import TRADES
from fairbench.outcomes import Outcomes

LN3 = math.log(3)
KL = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)


def calibrated(accuracy, *, epoch=10, epochs=200, **hyper):
    """A rule after an epoch with these training accuracies (None: the class never appeared)."""
    rule = CFARule(len(accuracy), **hyper)
    seen = [c for c, value in enumerate(accuracy) if value is not None]
    rule.robust_accuracy.add(torch.tensor(seen), torch.tensor([accuracy[c] for c in seen]))
    rule.begin_epoch(EpochState(epoch, epochs, 1.0))
    return rule


def test_radii_by_hand():
    """t = .8, .2 and lambda_1 = .3: 1.1 and .5 of eps = .1; steps stay."""
    rule = calibrated([0.8, 0.2], lambda_1=0.3)
    y = torch.tensor([0, 1])
    eps, step = rule.radius(y, torch.full((2,), 0.1), torch.full((2,), 0.025))
    assert_close(eps.tolist(), [0.11, 0.05])
    assert_close(step.tolist(), [0.025, 0.025], rtol=1e-6, atol=0)


def test_accuracy_is_that_of_the_epoch_before_only():
    rule = calibrated([0.8, 0.2])
    rule.robust_accuracy.add(torch.tensor([0, 1]), torch.tensor([0.4, 0.6]))
    rule.begin_epoch(EpochState(11, 200, 1.0))
    assert_close(rule.radius_factor.tolist(), [0.9, 1.1])


def test_nothing_happens_before_the_start_and_an_absent_class_keeps_its_own():
    assert calibrated([0.8, 0.2], epoch=9).radius_factor.tolist() == [1.0, 1.0]
    assert calibrated([0.8, 0.2], epoch=2, start=0.01).radius_factor.tolist() != [1.0, 1.0]
    assert_close(calibrated([0.8, None]).radius_factor.tolist(), [1.3, 1.0])


def test_training_accuracy_is_that_of_the_adversarial_logits(tiny):
    """Class 0: one of two right; class 1: both."""
    rule, batch = CFARule(2), tiny.batch([0, 0, 1, 1])
    robust = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0], [0.0, 1.0]])
    rule.observe(batch, StepLoss(torch.zeros(()), {}, {"robust": robust, "natural": -robust}))
    assert rule.robust_accuracy.pop_mean().tolist() == [0.5, 1.0]


def test_loss_by_hand(pixels_are_logits):
    """f(x) = (3/4, 1/4), f(x_adv) = (1/2, 1/2). t = .8, .2: b = 6 * 1.3 = 7.8 and 6 * .7 = 4.2.

    Labels 0 and 1: CE = ln(4/3) and ln 4: mean of (ln(4/3) + 7.8 KL) / 8.8 and (ln 4 + 4.2 KL) / 5.2.
    """
    student, batch = pixels_are_logits([[LN3, 0.0]] * 2, [[0.0, 0.0]] * 2, [0, 1])
    method = CFA(2, eps=0.1)
    method.rules["cfa"].robust_accuracy.add(torch.tensor([0, 1]), torch.tensor([0.8, 0.2]))
    method.begin_epoch(EpochState(100, 200, 1.0))
    step = method.loss(student, batch)
    expected = (math.log(4 / 3) + 7.8 * KL) / 8.8 + (math.log(4) + 4.2 * KL) / 5.2
    assert_close(step.total.item(), expected / 2, rtol=1e-6, atol=0)
    assert_close(step.terms["robust"].tolist(), [KL, KL])
    assert_close(method.rules["cfa"].radius_factor.tolist(), [1.1, 0.5])


def results(method, tiny):
    network, batch = tiny.network(), tiny.batch()
    batch = method.attack(network.eval(), batch, tiny.random(batch))
    step = method.loss(network.train(), batch)
    step.total.backward()
    return batch.adversarial, step.total.detach(), [p.grad for p in network.parameters()]


@pytest.mark.parametrize("beta", [6.0, 2.0])
def test_uncalibrated_it_is_trades_over_one_plus_beta(tiny, beta):
    trades = results(TRADES(4, eps=0.1, beta=beta, step_share=0.25), tiny)
    cfa = results(CFA(4, eps=0.1, beta=beta), tiny)
    assert torch.equal(cfa[0], trades[0])
    assert_close((1 + beta) * cfa[1], trades[1])
    for ours, theirs in zip(cfa[2], trades[2], strict=True):
        assert_close((1 + beta) * ours, theirs, rtol=1e-5, atol=1e-6)


def test_uncalibrated_at_its_common_scale_it_is_trades(tiny):
    trades = results(TRADES(4, eps=0.1, step_share=0.25), tiny)
    cfa = results(CFA(4, eps=0.1, scale=CFA.common_scale), tiny)
    assert_close(cfa[1], trades[1])
    for ours, theirs in zip(cfa[2], trades[2], strict=True):
        assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


def test_uncalibrated_variant_sat_is_sat_exactly(tiny):
    sat = results(SAT(4, eps=0.1), tiny)
    cfa = results(CFA(4, eps=0.1, variant="sat", scale=7.0), tiny)  # the scale is of the other variant
    assert torch.equal(cfa[0], sat[0])
    assert torch.equal(cfa[1], sat[1])
    assert all(torch.equal(a, b) for a, b in zip(cfa[2], sat[2], strict=True))


def test_lambda_1_depends_on_the_variant_unless_given():
    def lambda_1(**options):
        return CFA(4, eps=0.1, **options).hyper()["cfa.lambda_1"]

    assert (lambda_1(), lambda_1(variant="sat")) == (0.3, 0.5)
    assert lambda_1(lambda_1=0.7) == lambda_1(**{"cfa.lambda_1": 0.7}) == 0.7
    assert "cfa.lambda_1" not in CFA(4, eps=0.1, slots={"remargin": None}).hyper()


@pytest.mark.parametrize(
    ("right", "epoch", "accepted"),
    [
        ([2, 10], 50, True),
        ([1, 10], 50, False),
        ([10, 10], 49, False),
        ([10, None], 199, True),
        ([None, 1], 199, False),
    ],
)
def test_the_gate_opens_for_a_worst_class_of_a_fifth_from_a_quarter_on(right, epoch, accepted):
    label = [c for c, hits in enumerate(right) if hits is not None for _ in range(10)]
    prediction = [c if k < hits else 1 - c for c, hits in enumerate(right) if hits is not None for k in range(10)]
    table = Outcomes.of_columns("pgd10", index=range(len(label)), label=label, prediction=prediction)
    method = CFA(2, eps=0.1)
    assert method.validation_attacks() == {"pgd10"}
    assert method.accepts_average(EpochState(epoch, 200, 1.0, table)) is accepted


def test_threshold_is_a_parameter():
    table = Outcomes.of_columns("pgd10", index=[0, 1], label=[0, 1], prediction=[0, 0])
    assert CFA(2, eps=0.1, threshold=0).accepts_average(EpochState(199, 200, 1.0, table))
