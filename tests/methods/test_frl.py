"""FRL: multipliers, weights and radii by hand, and reduction to TRADES."""

from __future__ import annotations

import math

import pytest
import torch
from torch.testing import assert_close

from fairbench.methods.base import EpochState
from fairbench.methods.frl import FRL, FRLRule
from fairbench.methods.trades import TRADES
from fairbench.outcomes import Outcomes


def table(natural, robust, count=10):
    """Validation outcomes with these accuracies per class, `count` samples each."""
    label = [c for c in range(len(natural)) for _ in range(count)]

    def predicted(accuracy):
        right = [k < round(a * count) for a in accuracy for k in range(count)]
        return [c if ok else (c + 1) % len(natural) for c, ok in zip(label, right, strict=True)]

    rows = {"index": range(len(label)), "label": label}
    return Outcomes.concat(
        [
            Outcomes.of_columns("natural", **rows, prediction=predicted(natural)),
            Outcomes.of_columns("pgd20", **rows, prediction=predicted(robust)),
        ]
    )


def updated(natural, robust, *, epoch=0, epochs=40, **hyper):
    rule = FRLRule(len(natural), **hyper)
    rule.fill(("reweight", "remargin"))
    rule.begin_epoch(EpochState(epoch, epochs, 1.0, table(natural, robust)))
    return rule


def test_update_by_hand():
    """Natural accuracies 1, .5: errors 0, .5, mean .25. Robust .5, .5: boundary errors .5, 0, mean .25. tau = .07.

    natural multipliers  max(0, .05 (-.25 - .07)) = 0, .05 (.25 - .07) = .009
    robust multipliers   2 * .05 * .18 = .018, 0
    margin exponents     .2 * .18 = .036, .2 * -.32 = -.064
    natural weights      1/2 + 0 - .0045, 1/2 + .009 - .0045
    radius factors       exp(.072) = 1.07466, exp(-.128) = .87985, raised to .98
    """
    rule = updated([1.0, 0.5], [0.5, 0.5])
    assert_close(rule.natural_multiplier.tolist(), [0.0, 0.009])
    assert_close(rule.robust_multiplier.tolist(), [0.018, 0.0])
    assert_close(rule.margin_exponent.tolist(), [0.036, -0.064])
    assert_close(rule.natural_weight.tolist(), [0.4955, 0.5045])
    assert_close(rule.robust_weight.tolist(), [0.509, 0.491])
    assert_close(rule.radius_factor.tolist(), [math.exp(0.072), 0.98])


def test_multipliers_add_up_over_epochs_and_the_exponent_is_never_clamped():
    """A second epoch with the classes exchanged: natural max(0, 0 + .05 * .18) and max(0, .009 - .05 * .32)."""
    rule = updated([1.0, 0.5], [0.5, 0.5])
    rule.begin_epoch(EpochState(1, 40, 1.0, table([0.5, 1.0], [0.5, 0.5])))
    assert_close(rule.natural_multiplier.tolist(), [0.009, 0.0])
    assert_close(rule.margin_exponent.tolist(), [0.036 - 0.064, -0.064 + 0.036])


def test_multipliers_are_limited_in_their_sum():
    """rate 10: natural 0, 1.8, scaled to .5; the weights then are 1/2 - .25 and 1/2 + .25."""
    rule = updated([1.0, 0.5], [0.5, 0.5], rate=10)
    assert_close(rule.natural_multiplier.tolist(), [0.0, 0.5])
    assert_close(rule.natural_weight.tolist(), [0.25, 0.75])


def test_three_classes_get_the_weights_of_the_paper():
    """w_c = 1/3 + 2/3 l_c - 1/3 sum of the others, as the released code writes 1/K + l_c - mean l."""
    rule = updated([1.0, 0.5, 0.3], [0.5, 0.5, 0.3])
    multipliers = rule.natural_multiplier
    for c in range(3):
        others = multipliers.sum() - multipliers[c]
        assert_close(rule.natural_weight[c], 1 / 3 + 2 / 3 * multipliers[c] - 1 / 3 * others)
    assert multipliers.sum() > 0


def test_largest_radius_is_three_times_eps():
    assert_close(updated([1.0, 0.5], [0.5, 0.5], margin_rate=10).radius_factor.tolist(), [3.0, 0.98])


def test_variant_reweight_leaves_radii_alone_and_tolerates_more():
    """tau = .1: .05 (.25 - .1)."""
    rule = updated([1.0, 0.5], [0.5, 0.5], variant="reweight")
    assert rule.radius_factor.tolist() == [1.0, 1.0]
    assert_close(rule.natural_multiplier.tolist(), [0.0, 0.0075])
    assert_close(updated([1.0, 0.5], [0.5, 0.5], tolerance=0.2).natural_multiplier.tolist(), [0.0, 0.0025])


def test_rate_halves_in_the_last_fortieth():
    assert_close(updated([1.0, 0.5], [0.5, 0.5], epoch=39).natural_multiplier.tolist(), [0.0, 0.0045])
    assert_close(updated([1.0, 0.5], [0.5, 0.5], epoch=38).natural_multiplier.tolist(), [0.0, 0.009])


def test_a_class_without_validation_images_keeps_its_own():
    rule = FRLRule(3)
    rule.begin_epoch(EpochState(0, 40, 1.0, table([1.0, 0.5], [0.5, 0.5])))
    assert_close(rule.natural_multiplier.tolist(), [0.0, 0.009, 0.0])
    assert rule.radius_factor[2] == 1


def test_weights_have_mean_one_over_the_batch():
    """Weights .4955, .5045 in a batch 0, 0, 1: divided by their mean .4985."""
    rule = updated([1.0, 0.5], [0.5, 0.5])
    weight = rule.weight(torch.tensor([0, 0, 1]), "natural", {})
    assert_close(weight.tolist(), [0.4955 / 0.4985, 0.4955 / 0.4985, 0.5045 / 0.4985])
    assert_close(rule.weight(torch.tensor([1, 1]), "robust", {}).tolist(), [1.0, 1.0])


def test_one_step_size_for_the_batch_that_of_its_largest_radius():
    """Factors 1.07466 and .98 of eps = .1 and step .025; without class 0 in the batch, the step is that of class 1."""
    rule = updated([1.0, 0.5], [0.5, 0.5])
    for y, largest in (([0, 1, 1], math.exp(0.072)), ([1, 1], 0.98)):
        labels = torch.tensor(y)
        eps, step = rule.radius(labels, torch.full(labels.shape, 0.1), torch.full(labels.shape, 0.025))
        assert_close(eps.tolist(), [0.1 * (math.exp(0.072) if c == 0 else 0.98) for c in y])
        assert_close(step.tolist(), [0.025 * largest] * len(y))


def test_attack_reaches_the_class_radius(tiny):
    method, batch = FRL(4, eps=0.1), tiny.batch()
    method.rules["frl"].radius_factor.copy_(torch.tensor([2.0, 1.0, 1.0, 0.98]))
    distance = (
        (method.attack(tiny.network().eval(), batch, tiny.random(batch)).adversarial - batch.x).abs().amax((1, 2, 3))
    )
    assert distance[batch.y == 0].min() > 0.15
    assert distance[batch.y == 1].max() <= 0.1 + 1e-6


@pytest.mark.parametrize("variant", ["reweight+remargin", "reweight"])
def test_with_multipliers_of_zero_it_is_trades(tiny, variant):
    results = []
    for method in (TRADES(4, eps=0.1, beta=1.5, step_share=0.25), FRL(4, eps=0.1, variant=variant)):
        network, batch = tiny.network(), tiny.batch([0, 0, 0, 1, 1, 2])
        batch = method.attack(network.eval(), batch, tiny.random(batch))
        step = method.loss(network.train(), batch)
        step.total.backward()
        results.append((batch.adversarial, step.total.detach(), [p.grad for p in network.parameters()]))
    for plain, frl in zip(results[0], results[1], strict=True):
        assert_close(frl, plain, rtol=1e-6, atol=1e-8)
