"""Rank correlations: scipy as oracle, limits by hand, coverage by simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from fairbench.errors import BadInput
from fairbench.metrics.rank import correlation, kendall, order_agreement


def test_kendall_is_scipys_and_leaves_out_what_is_undefined():
    rng = np.random.default_rng(1)
    a, b = rng.integers(0, 6, 12).astype(float), rng.integers(0, 6, 12).astype(float)
    wanted = stats.kendalltau(a, b)
    orders = stats.permutation_test(
        (a,), lambda one: stats.kendalltau(one, b).statistic, permutation_type="pairings", n_resamples=2_000, rng=3
    )
    tau, p = kendall(a, b)
    assert tau == pytest.approx(wanted.statistic)
    assert p == pytest.approx(orders.pvalue, abs=0.04)
    with_gap = kendall(np.append(a, np.nan), np.append(b, 3.0))
    assert with_gap == kendall(a, b)
    assert all(math.isnan(value) for value in kendall([1.0, 1.0, 1.0], [1.0, 2.0, 3.0]))


@pytest.mark.parametrize("points", [2, 3, 10, 33, 34, 200])
def test_p_is_scipys_without_ties_and_for_many_points(points: int):
    rng = np.random.default_rng(points)
    for _ in range(5):
        a, b = rng.permutation(points), rng.permutation(points)
        wanted = stats.kendalltau(a, b)
        assert kendall(a, b) == pytest.approx((wanted.statistic, wanted.pvalue), abs=1e-11)
        if points > 33:
            a, b = rng.integers(0, 9, points), rng.integers(0, 9, points)
            wanted = stats.kendalltau(a, b)
            assert kendall(a, b) == pytest.approx((wanted.statistic, wanted.pvalue), abs=1e-11)


def test_p_is_exact_for_few_points():
    """Four points in one order: 2 of 24 orders are as extreme."""
    assert kendall([1, 2, 3, 4], [1, 2, 3, 4]) == pytest.approx((1.0, 2 / 24))


def test_ties_leave_few_orders():
    """One class apart from nine that tie, in both: 1 of 10 orders is as extreme, where the normal limit says .003."""
    one = [0.98, *[1.0] * 9]
    found = correlation(one, one)
    assert found.tau == 1
    assert found.p == pytest.approx(0.1, abs=0.01)
    assert (found.low, found.high) == (0.0, 1.0)
    assert not found.decided


def test_p_depends_neither_on_the_order_of_classes_nor_on_which_is_named_first():
    rng = np.random.default_rng(5)
    for _ in range(20):
        a, b, order = rng.integers(0, 5, 10), rng.integers(0, 5, 10), rng.permutation(10)
        assert kendall(a, b) == kendall(b, a) == kendall(a[order], b[order])


def test_limits_by_hand():
    """K = 10, one neighbouring pair swapped: tau = 43/45; z = ln(44) / 2 = 1.89209, 1.96 sqrt(.437 / 6) = .52895."""
    found = correlation(range(10), [1, 0, *range(2, 10)])
    assert found.tau == pytest.approx(43 / 45)
    assert (found.low, found.high) == pytest.approx(
        (math.tanh(1.89209 - 0.52895), math.tanh(1.89209 + 0.52895)), abs=1e-4
    )
    assert found.decided
    assert found.points == 10


def test_a_perfect_order_still_has_an_interval():
    found = correlation(range(6), range(6))
    assert (found.tau, found.high) == (1.0, 1.0)
    assert 0 < found.low < 1
    opposite = correlation(range(6), range(5, -1, -1))
    assert (opposite.tau, opposite.low, opposite.high) == (-1.0, -1.0, -found.low)


def test_too_few_classes_have_no_interval():
    found = correlation([1, 2, 3, 4], [1, 2, 3, 4])
    assert found.tau == 1
    assert math.isnan(found.low)
    assert not found.decided


def test_covers_for_ten_points():
    """2,000 times 10 points of a bivariate normal with rho .5, whose tau is 2 / pi asin(.5) = 1 / 3."""
    rng = np.random.default_rng(2)
    inside = 0
    for _ in range(2000):
        x = rng.normal(size=10)
        found = correlation(x, 0.5 * x + math.sqrt(0.75) * rng.normal(size=10))
        inside += found.low <= 1 / 3 <= found.high
    assert 0.94 <= inside / 2000 <= 0.975


def test_agreement_by_hand():
    """Classes far apart are ordered for sure; two that are close may stand either way."""
    found = order_agreement([10, 500, 505, 990], [1000] * 4, [5, 300, 600, 900], [1000] * 4)
    assert (found.same, found.opposite, found.undecided, found.pairs) == (5, 0, 1, 6)
    assert found.tau == 1
    assert (found.low, found.high) == (4 / 6, 1)


def test_opposite_orders_and_absent_classes():
    found = order_agreement([100, 0, 900], [1000, 0, 1000], [900, 5, 100], [1000, 10, 1000])
    assert (found.same, found.opposite, found.undecided) == (0, 1, 0)
    assert (found.tau, found.low, found.high) == (-1, -1, -1)


def test_one_class_has_no_order():
    assert math.isnan(order_agreement([1], [2], [1], [2]).low)


def test_other_numbers_of_classes_are_refused():
    with pytest.raises(BadInput, match="same classes"):
        order_agreement([1], [2], [1, 1], [2, 2])
    with pytest.raises(BadInput, match="one length"):
        correlation([1], [1, 2])


@pytest.mark.parametrize("count", [90, 1000])
@pytest.mark.parametrize(
    ("first", "second"),
    [
        (np.linspace(0.52, 0.56, 10), np.linspace(0.48, 0.52, 10)),
        (np.linspace(0.5, 0.9, 10), np.linspace(0.5, 0.2, 10)),
        (np.linspace(0.95, 0.999, 10), np.linspace(0.3, 0.9, 10)),
    ],
)
def test_limits_of_agreement_cover(first, second, count):
    """Where bootstraps of the images fail: 40 tables, the second attack's survivors among the first's or not."""
    rng = np.random.default_rng(3)
    true = float(stats.kendalltau(first, second).statistic)
    inside = 0
    for _ in range(40):
        a = rng.binomial(count, first)
        b = rng.binomial(a, np.minimum(second / first, 1.0))
        n = np.full(10, count)
        found = order_agreement(a, n, b, n)
        inside += found.low - 1e-12 <= true <= found.high + 1e-12
    assert inside >= 38
