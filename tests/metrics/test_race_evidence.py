"""The martingale behind the race, by enumeration of every order for small classes."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pytest
from scipy import stats

from fairbench.metrics.race_evidence import PRIOR, at_least, bounds, least_log_ratio, log_ratio, not_above


def test_the_ratio_by_hand() -> None:
    """S = 2, one drawn and broken, prior Beta(1, 1): P(broken) = 1/2 under the prior.

    P(broken | B) = B / 2, so the ratio is 1/2 : B/2 = 1 / B: 1 at B = 1, 1/2 at B = 2, and infinite at B = 0.
    """
    ratio = log_ratio(2, 1, 1, prior=(1, 1))  # of r = 0, 1, 2 robust, B = 2, 1, 0
    np.testing.assert_allclose(ratio, [math.log(1 / 2), 0, np.inf])


def test_before_any_draw_nothing_is_known() -> None:
    np.testing.assert_allclose(log_ratio(7, 0, 0), np.zeros(8), atol=1e-12)
    np.testing.assert_allclose(log_ratio(0, 0, 0), [0.0])


def test_after_all_draws_only_the_truth_is_left() -> None:
    ratio = log_ratio(5, 5, 2)
    assert np.flatnonzero(np.isfinite(ratio)).tolist() == [3]


@pytest.mark.parametrize("broken", range(7))
@pytest.mark.parametrize("prior", [(1, 1), (0.5, 4.5)])
def test_it_rarely_grows_over_all_orders(broken: int, prior: tuple[float, float]) -> None:
    """S = 6, over all places that `broken` samples can have in the order.

    The mean is 1 while both outcomes are possible and at most 1 later, and the share of orders in which the ratio of
    the truth ever reaches 1 / error is at most error (Ville).
    """
    orders = [[place in places for place in range(6)] for places in combinations(range(6), broken)]
    paths = np.array(
        [[math.exp(log_ratio(6, m, sum(order[:m]), prior=prior)[6 - broken]) for m in range(7)] for order in orders]
    )
    both = 1 + min(broken, 6 - broken)
    np.testing.assert_allclose(paths.mean(0)[:both], np.ones(both))
    assert (paths.mean(0) <= 1 + 1e-12).all()
    highest = paths.max(1)
    for error in (0.05, 0.2, 0.5, 0.8):
        assert (highest >= 1 / error).mean() <= error
    assert (highest > 1).any() or broken in (0, 6)  # something grows, so that the bound is asked something


@pytest.mark.parametrize(("survivors", "drawn", "broken"), [(9, 4, 1), (9, 9, 3), (40, 0, 0), (40, 39, 0), (5, 3, 3)])
def test_the_ratio_is_that_of_two_distributions(survivors: int, drawn: int, broken: int) -> None:
    """Beta-binomial over hypergeometric, by scipy, for every B."""
    of_b = survivors - np.arange(survivors + 1)
    prior = stats.betabinom.pmf(broken, drawn, *PRIOR)
    with np.errstate(divide="ignore"):
        expected = np.log(prior) - np.log(stats.hypergeom.pmf(broken, survivors, of_b, drawn))
    np.testing.assert_allclose(log_ratio(survivors, drawn, broken), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("survivors", [0, 1, 2, 7, 11])
def test_the_least_over_a_range_is_the_lists(survivors: int) -> None:
    """Every state and every range of a small class, those that hold nothing possible included."""
    for drawn in range(survivors + 1):
        for broken in range(drawn + 1):
            ratio = log_ratio(survivors, drawn, broken)
            for low in range(survivors + 2):
                for high in range(-1, survivors + 1):
                    expected = float(np.min(ratio[low : high + 1], initial=np.inf))
                    found = least_log_ratio(low, high, survivors, drawn, broken)
                    assert found == pytest.approx(expected, abs=1e-12), (drawn, broken, low, high)


def test_the_least_of_a_large_class() -> None:
    random = np.random.default_rng(1)
    for _ in range(300):
        survivors = int(random.integers(1, 6000))
        drawn = int(random.integers(0, survivors + 1))
        broken = int(random.integers(0, drawn + 1))
        low, high = sorted(random.integers(0, survivors + 1, size=2).tolist())
        expected = log_ratio(survivors, drawn, broken)[low : high + 1].min()
        assert least_log_ratio(low, high, survivors, drawn, broken) == pytest.approx(expected, abs=1e-12)


def test_bounds_are_the_counts_that_are_left() -> None:
    ratio = np.array([5.0, 1.0, 0.0, 2.0, 4.0, np.inf])
    assert bounds(ratio, error=math.exp(-3)) == (1, 3)


def test_the_evidence_of_two_classes_is_the_best_case_of_the_claim() -> None:
    """Robust counts 0..2 of N = 2 against 0..2 of N = 2: r <= r' allows (0,0) (0,1) (0,2) (1,1) (1,2) (2,2)."""
    low, high = np.array([3.0, 1.0, 0.5]), np.array([0.2, 2.0, 4.0])
    allowed = [low[a] + high[b] for a in range(3) for b in range(3) if a <= b]
    assert not_above(low, 2, at_least(high), 2) == pytest.approx(min(allowed))


@pytest.mark.parametrize(("count", "other"), [(3, 2), (2, 3), (4, 2), (7, 5), (6, 6)])
def test_classes_of_other_sizes_are_compared_by_accuracy(count: int, other: int) -> None:
    random = np.random.default_rng(count)
    one, two = random.normal(size=count), random.normal(size=other)  # survivors count - 1 and other - 1
    allowed = [one[a] + two[b] for a in range(count) for b in range(other) if a * other <= b * count]
    assert not_above(one, count, at_least(two), other) == pytest.approx(min(allowed))


@pytest.mark.parametrize(("mine", "theirs"), [(2, 7), (7, 2), (4, 4), (0, 3), (3, 0)])
def test_classes_of_one_size_with_other_survivors(mine: int, theirs: int) -> None:
    random = np.random.default_rng(mine)
    one, two = random.normal(size=mine + 1), random.normal(size=theirs + 1)
    allowed = [one[a] + two[b] for a in range(mine + 1) for b in range(theirs + 1) if a <= b]
    assert not_above(one, 9, at_least(two), 9) == pytest.approx(min(allowed))


def test_a_claim_that_no_count_satisfies_is_impossible() -> None:
    assert not_above(np.array([np.inf, 0.0]), 1, at_least(np.array([0.0])), 1) == np.inf
