from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from fairbench.metrics import equal
from fairbench.metrics.binomial import binomial_cdf
from fairbench.metrics.equal import METRICS, if_equal


def _enumerated(count: list[int], p: float) -> tuple[np.ndarray, np.ndarray]:
    """Every table (rows of accuracies) and its probability."""
    cells = [[(k / n, stats.binom.pmf(k, n, p)) for k in range(n + 1)] for n in count]
    rows = list(itertools.product(*cells))
    return np.array([[a for a, _ in row] for row in rows]), np.array([math.prod(w for _, w in row) for row in rows])


def _quantile(values: np.ndarray, weights: np.ndarray, level: float) -> float:
    order = np.argsort(values)
    reached = np.searchsorted(np.round(np.cumsum(weights[order]), 12), level)
    return float(values[order][reached])


@settings(max_examples=40)
@given(st.lists(st.integers(1, 7), min_size=1, max_size=4), st.data())
def test_worst_class_and_gap_are_exact(count: list[int], data: st.DataObject) -> None:
    """All tables of up to four small classes, counts equal or not, are listed with their probabilities."""
    hits = [data.draw(st.integers(0, n)) for n in count]
    table, weights = _enumerated(count, sum(hits) / sum(count))
    found = if_equal(hits, count)
    for name, values in (("worst_class", table.min(axis=1)), ("gap", np.round(np.ptp(table, axis=1), 12))):
        assert found[name].expected == pytest.approx((values * weights).sum(), abs=1e-9)
        assert found[name].low == pytest.approx(_quantile(values, weights, 0.025), abs=1e-9)
        assert found[name].high == pytest.approx(_quantile(values, weights, 0.975), abs=1e-9)


def test_two_coins_by_hand() -> None:
    """One image each, pooled .5: both right 1/4, one 1/2, none 1/4. Worst 1/4 expected, gap 1/2, std 1/4."""
    found = if_equal([1, 0], [1, 1])
    assert found["worst_class"].expected == pytest.approx(0.25)
    assert found["gap"].expected == pytest.approx(0.5)
    assert (found["gap"].low, found["gap"].high) == (0.0, 1.0)
    assert found["std"].expected == pytest.approx(0.25, abs=0.005)
    assert found["average"].expected == 0.5
    # NSD is undefined in the quarter of tables without a hit: over the others (0 + 2 * 1) / 3.
    assert found["normalized_std"].expected == pytest.approx(2 / 3, abs=0.01)


@pytest.mark.parametrize(
    ("num", "n", "p", "lowest", "tenth", "fifth", "gap", "nsd"),
    [
        (10, 1000, 0.50, 0.476, 0.476, 0.480, 0.049, 0.029),
        (10, 1000, 0.25, 0.229, 0.229, 0.233, 0.042, 0.051),
        (100, 100, 0.50, 0.376, 0.414, 0.431, 0.249, 0.099),
        (200, 50, 0.20, 0.061, 0.107, 0.124, 0.305, 0.282),
        (10, 200, 0.50, 0.445, 0.445, 0.455, 0.109, 0.065),
    ],
)
def test_the_noise_floor_measured_before(
    num: int, n: int, p: float, lowest: float, tenth: float, fifth: float, gap: float, nsd: float
) -> None:
    """20,000 simulations made before this code was written, to three digits."""
    found = if_equal([round(p * n)] * num, [n] * num)
    names = ("worst_class", "worst_10pct", "worst_20pct", "gap", "normalized_std")
    values = [found[name].expected for name in names]
    np.testing.assert_allclose(values, [lowest, tenth, fifth, gap, nsd], atol=0.0011)


def test_simulated_metrics_have_the_moments_of_theory() -> None:
    """Equal p and n: E[variance over classes] = (1 - 1/K) p (1 - p) / n; unequal counts: E[class average] = p."""
    found = if_equal([250] * 10, [1000] * 10)["std"]
    assert found.expected == pytest.approx(math.sqrt(0.9 * 0.25 * 0.75 / 1000), rel=0.04)
    assert found.expected < math.sqrt(0.9 * 0.25 * 0.75 / 1000)
    uneven = if_equal([10, 300], [20, 600])
    assert uneven["class_average"].expected == pytest.approx(0.5)
    # Its variance is (.25/20 + .25/600) / 4, the average's only .25/620.
    half = 1.96 * math.sqrt((0.25 / 20 + 0.25 / 600) / 4)
    assert uneven["class_average"].high - 0.5 == pytest.approx(half, rel=0.1)


def test_extremes_are_certain() -> None:
    for hits, value in ((0, 0.0), (50, 1.0)):
        found = if_equal([hits] * 10, [50] * 10)
        assert (found["worst_class"].low, found["worst_class"].high) == (value, value)
        assert (found["gap"].expected, found["std"].expected) == (0.0, 0.0)
    assert math.isnan(if_equal([0] * 3, [50] * 3)["normalized_std"].expected)


def test_the_worst_tenth_of_up_to_ten_classes_is_the_worst_class() -> None:
    found = if_equal([30, 40, 50], [100, 100, 100])
    assert found["worst_10pct"] == found["worst_20pct"] == found["worst_class"]
    assert tuple(found) == METRICS


def test_absent_classes_change_nothing_and_nothing_is_undefined() -> None:
    assert if_equal([3, 0, 8], [10, 0, 10]) == if_equal([3, 8], [10, 10])
    assert all(math.isnan(one.expected) for one in if_equal([0, 0], [0, 0]).values())


def test_the_same_counts_give_the_same_numbers() -> None:
    assert if_equal([30, 40], [90, 70]) == if_equal([30, 40], [90, 70])


def test_a_thousand_classes_work() -> None:
    """Minimum over 1,000 Binomial(50, .5): P(min > t) = P(X > t)^1000, summed by scipy."""
    found = if_equal([25] * 1000, [50] * 1000)
    above = stats.binom.sf(np.arange(50), 50, 0.5) ** 1000
    assert found["worst_class"].expected == pytest.approx(above.sum() / 50, abs=1e-9)
    uneven = if_equal([20, 30] * 500, [40, 60] * 500)
    assert uneven["worst_class"].low < uneven["worst_class"].expected < uneven["worst_class"].high


@pytest.mark.parametrize("num", [6, 10, 11])
def test_the_lowest_fifth_is_the_mean_of_the_sorted_tables_lowest(num: int) -> None:
    """Up to ten classes it is two of them, whose places follow from the uniform numbers alone."""
    count = np.full(num, 40)
    hits = np.arange(num) + 15
    accuracy = equal._uniform(num)
    cdf = binomial_cdf(np.arange(40), 40, hits.sum() / count.sum())
    accuracy = np.sort(np.searchsorted(cdf, accuracy, side="right") / 40, axis=1)
    lowest = accuracy[:, : math.ceil(0.2 * num)].mean(axis=1)
    found = if_equal(hits, count)["worst_20pct"]
    np.testing.assert_allclose(found.expected, lowest.mean(), rtol=1e-12)
    np.testing.assert_allclose([found.low, found.high], np.quantile(lowest, [0.025, 0.975]), rtol=1e-12)
