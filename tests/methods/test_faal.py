"""FAAL: its inner problem in closed form, against a general solver, and reduction to SAT at r = 0."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax
from torch.testing import assert_close

from fairbench.errors import BadInput
from fairbench.methods.base import StepLoss
from fairbench.methods.faal import FAAL, FAALRule, worst_distribution
from fairbench.methods.sat import SAT
from fairbench.methods.trades import TRADES


def solve(gain, r):
    return worst_distribution(torch.tensor(gain, dtype=torch.float64), r)


def divergence(p):
    """KL(U || p)."""
    return float(-(p * len(p)).log().mean())


@pytest.mark.parametrize("r", [1e-4, 0.1, 0.5, 2.0, 20.0])
@pytest.mark.parametrize("gain", [[1.0, 0.0], [-3.0, -3.7], [1e-6, 0.0]])
def test_two_classes_in_closed_form(gain, r):
    """KL(U || (p, 1 - p)) = - ln 2 - 1/2 ln(p (1 - p)) = r: p (1 - p) = e^(-2r) / 4, p = (1 + sqrt(1 - e^(-2r))) / 2.

    The gains' scale and offset do not matter.
    """
    expected = (1 + math.sqrt(-math.expm1(-2 * r))) / 2
    p = solve(gain, r)
    assert_close(p[0].item(), expected, rtol=1e-12, atol=1e-12)
    assert_close(p.sum().item(), 1.0)


def test_equal_gains_and_r_zero_are_uniform():
    assert_close(solve([2.0] * 5, 0.5).tolist(), [0.2] * 5)
    assert_close(solve([0.0] * 4, 0.5).tolist(), [0.25] * 4)
    assert solve([3.0, 1.0, 0.0, -2.0], 0).tolist() == [0.25] * 4


def test_one_class_below_the_others_in_closed_form():
    """Gains 0, 0, -1: p = (q, q, 1 - 2q), and the divergence of .5 leaves q just below 1/2."""
    p = solve([0.0, 0.0, -1.0], 0.5)
    assert_close(p[0], p[1])
    assert_close(divergence(p), 0.5)
    assert p[2] < 1 / 3


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("r", [0.05, 0.5, 1.5])
def test_against_a_general_solver(seed, r):
    """With p = softmax(z), always a distribution, scipy's SLSQP finds no better point, and the same one."""
    gain = np.random.default_rng(seed).normal(size=10)

    def slope(z):
        p = softmax(z)
        return -p * (gain - gain @ p)

    found = minimize(
        lambda z: -gain @ softmax(z),
        0.01 * gain,
        jac=slope,
        method="SLSQP",
        constraints=[
            {
                "type": "ineq",
                "fun": lambda z: r - np.log(0.1) + log_softmax(z).mean(),
                "jac": lambda z: 0.1 - softmax(z),
            }
        ],
        options={"ftol": 1e-14, "maxiter": 1000},
    )
    assert found.success
    p = solve(gain, r).numpy()
    assert gain @ p >= -found.fun - 1e-11
    assert np.abs(p - softmax(found.x)).max() < 1e-6


@settings(deadline=None)
@given(st.lists(st.floats(-50, 50), min_size=2, max_size=12), st.floats(0.001, 5))
def test_properties(gain, r):
    """A distribution, on the ball's rim unless all gains are equal, larger where the gain is."""
    p = solve(gain, r)
    assert p.isfinite().all()
    assert_close(p.sum().item(), 1.0)
    spread = max(gain) - min(gain)
    if spread > 1e-3:
        assert divergence(p) <= r + 1e-6
        assert_close(divergence(p), r, rtol=1e-6, atol=1e-6)
    order = sorted(range(len(gain)), key=gain.__getitem__)
    assert all(p[a] <= p[b] + 1e-12 for a, b in pairwise(order))


def test_a_hundred_classes_of_which_most_tie():
    """The lowest class's probability falls below e^(-K r), which a double cannot hold beside the others."""
    gain = [0.0] * 99 + [-1.0]
    p = solve(gain, 5.0)
    assert p.isfinite().all()
    assert_close(p[:99], torch.full((99,), 1 / 99, dtype=torch.float64))


def log(*rows):
    return torch.log(torch.tensor(rows, dtype=torch.float64))


def test_margins_and_counts_by_hand():
    """Class 0 twice: .7 - .2 = .5 and .1 - .8 = -.7, together -.2; class 1 once: .6 - .3 = .3; class 2 absent: 0.

    The weights are 3 p of the worst distribution for the gains -.2, .3, 0.
    """
    logits = log([0.2, 0.7, 0.1], [0.8, 0.1, 0.1], [0.6, 0.3, 0.1])
    y = torch.tensor([0, 0, 1])
    p = solve([-0.2, 0.3, 0.0], 0.5)
    assert_close(FAALRule(3).weight(y, "robust", {"robust": logits}), 3 * p[y])


def test_the_weights_of_the_step_are_noted_for_the_log(tiny):
    logits = {"robust": log([0.2, 0.8], [0.9, 0.1])}
    rule, batch = FAALRule(2), tiny.batch([0, 1])
    rule.observe(batch, StepLoss(torch.zeros(()), {}, logits))
    assert_close(rule.class_weight[batch.y], rule.weight(batch.y, "robust", logits))


def results(method, tiny):
    network, batch = tiny.network(), tiny.batch([0, 0, 0, 1, 1, 2])
    batch = method.attack(network.eval(), batch, tiny.random(batch))
    step = method.loss(network.train(), batch)
    step.total.backward()
    return batch, step, [p.grad for p in network.parameters()]


def test_at_r_zero_it_is_sat_exactly(tiny):
    plain, faal = results(SAT(4, eps=0.1), tiny), results(FAAL(4, eps=0.1, r=0), tiny)
    assert torch.equal(plain[0].adversarial, faal[0].adversarial)
    assert torch.equal(plain[1].total, faal[1].total)
    assert all(torch.equal(a, b) for a, b in zip(plain[2], faal[2], strict=True))


def test_weights_are_on_all_of_the_loss_and_carry_no_gradient(tiny):
    for method, terms in (
        (FAAL(4, eps=0.1), {"robust": 1.0}),
        (TRADES(4, eps=0.1, slots={"reweight": FAALRule}), {"natural": 1.0, "robust": 6.0}),
    ):
        batch, step, gradients = results(method, tiny)
        w = method.rules["faal"].weight(batch.y, "robust", step.logits)
        assert not w.requires_grad
        assert_close(step.total.double(), (w * sum(c * step.terms[name] for name, c in terms.items())).mean())
        assert all(g.isfinite().all() for g in gradients)


def test_a_ball_beyond_reason_is_refused():
    with pytest.raises(BadInput, match=r"r, a divergence in nats, must lie in \[0, 100\]"):
        FAALRule(3, r=500)
