"""Fair-ARD: weights by hand, reduction to ARD, and Fair-RSLAD as a composition."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from fairbench.errors import BadInput
from fairbench.methods.ard import ARD
from fairbench.methods.base import EpochState
from fairbench.methods.fair_ard import FairARD, FairARDRule
from fairbench.methods.rslad import RSLAD


def weights(withstood, **hyper):
    """The weights after an epoch in which one sample of each class withstood so many steps (None: absent)."""
    rule = FairARDRule(len(withstood), **hyper)
    seen = [c for c, steps in enumerate(withstood) if steps is not None]
    rule.withstood.add(torch.tensor(seen), torch.tensor([float(withstood[c]) for c in seen]))
    rule.begin_epoch(EpochState(1, 10, 1.0))
    return rule.class_weight.tolist()


def test_update_by_hand():
    """k = 5 and 10, beta = 2: 1/25 and 1/100, mean 1/40: 1.6 and 0.4; the latter is raised to 5/6 and that is all."""
    assert_close(weights([5, 10]), [1.6, 5 / 6], rtol=1e-5, atol=1e-5)


def test_both_clamps_come_after_the_scaling():
    """k = 1, 10, 10: 1, .01, .01, mean .34: 2.94, .029, .029, clamped to 5/2 and 5/6, which do not sum to 3."""
    assert_close(weights([1, 10, 10]), [2.5, 5 / 6, 5 / 6], rtol=1e-5, atol=1e-5)
    assert_close(weights([1, 10, 10], min_weight=0, max_weight=9)[1], 0.01 / 0.34, rtol=1e-4, atol=1e-5)


def test_beta_one_is_inverse_proportion():
    """k = 4, 6: 1/4 and 1/6, mean 5/24: 1.2 and 0.8 (above 5/6 is not needed with a wider range)."""
    assert_close(weights([4, 6], beta=1, min_weight=0), [1.2, 0.8], rtol=1e-5, atol=1e-5)


def test_absent_class_keeps_its_weight_and_does_not_enter_the_scale():
    assert_close(weights([5, None, 10]), [1.6, 1.0, 5 / 6], rtol=1e-5, atol=1e-5)


def test_a_class_that_withstands_nothing_is_finite():
    """k = 0: 10^10, against which the others vanish: K, clamped to 5/2."""
    assert weights([0, 10, 10]) == [2.5, 5 / 6, 5 / 6]


def test_steps_are_means_so_that_frequency_does_not_count():
    rule = FairARDRule(2)
    rule.withstood.add(torch.tensor([0, 0, 0, 1]), torch.tensor([5.0, 5.0, 5.0, 10.0]))
    rule.begin_epoch(EpochState(1, 10, 1.0))
    assert_close(rule.class_weight.tolist(), [1.6, 5 / 6], rtol=1e-5, atol=1e-5)


def results(method, tiny, weight=None):
    network, batch = tiny.network(), tiny.batch()
    if weight is not None:
        method.rules["fair-ard"].class_weight.copy_(torch.tensor(weight))
    batch = method.attack(network.eval(), batch, tiny.random(batch))
    step = method.loss(network.train(), batch)
    step.total.backward()
    return batch, step, [p.grad for p in network.parameters()]


def test_with_weights_of_one_it_is_ard_exactly(tiny):
    teachers = {"robust": tiny.network(7)}
    plain = results(ARD(4, eps=0.1, teachers=teachers, alpha=0.7), tiny)
    fair = results(FairARD(4, eps=0.1, teachers=teachers, alpha=0.7), tiny)
    assert torch.equal(plain[0].adversarial, fair[0].adversarial)
    assert torch.equal(plain[1].total, fair[1].total)
    assert all(torch.equal(a, b) for a, b in zip(plain[2], fair[2], strict=True))


def test_weights_are_on_both_losses(tiny):
    """alpha = .5, T = 2: the total is mean(w (2 KL / K + .5 CE)) of the raw terms."""
    weight = [1.2, 0.9, 1.0, 2.0]
    method = FairARD(4, eps=0.1, teachers={"robust": tiny.network(7)}, alpha=0.5, temperature=2)
    batch, step, _ = results(method, tiny, weight)
    w = torch.tensor(weight)[batch.y]
    assert_close(step.total, (w * (2 * step.terms["robust"] + 0.5 * step.terms["natural"])).mean())


def test_fair_rslad_is_a_composition(tiny):
    """Both losses of RSLAD are weighed, and the attack's count of withstood steps reaches the rule."""
    weight = [1.2, 0.9, 1.0, 2.0]
    method = RSLAD(4, eps=0.1, teachers={"robust": tiny.network(7)}, slots={"reweight": FairARDRule})
    batch, step, _ = results(method, tiny, weight)
    w = torch.tensor(weight)[batch.y]
    assert_close(step.total, (w * (5 / 6 * step.terms["robust"] + 1 / 6 * step.terms["natural"])).mean())
    method.observe(batch, step)
    assert method.rules["fair-ard"].withstood.total.sum() == batch.extra["survived"].sum()


def test_an_empty_range_is_refused():
    with pytest.raises(BadInput, match="min_weight must not be above max_weight"):
        FairARDRule(3, min_weight=2, max_weight=1)
