from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.proportion import proportion_confint

from fairbench.errors import BadInput
from fairbench.metrics import classwise
from fairbench.metrics.binomial import clopper_pearson, wilson
from fairbench.metrics.equal import METRICS
from fairbench.metrics.intervals import average_interval, class_average_interval, metric_intervals

tables = st.lists(
    st.integers(0, 60).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))), min_size=1, max_size=9
)


def test_the_average_is_wilson_on_all_samples() -> None:
    np.testing.assert_array_equal(average_interval([3, 9, 0], [10, 20, 0]), wilson(12, 30))
    np.testing.assert_array_equal(class_average_interval([3, 9], [20, 20]), wilson(12, 40))


@pytest.mark.parametrize("errors", [0, 1, 9])
def test_the_average_of_few_hits_or_errors_is_exact(errors: int) -> None:
    """0 of 40 has the upper limit 1 - .025^(1/40); from ten of each on it is Wilson's."""
    for hits in (errors, 40 - errors):
        theirs = proportion_confint(hits, 40, method="beta")
        np.testing.assert_allclose(average_interval([hits], [40]), theirs, rtol=1e-9)
        np.testing.assert_array_equal(class_average_interval([hits // 2, hits - hits // 2], [20, 20]),
                                      average_interval([hits], [40]))  # fmt: skip
    np.testing.assert_array_equal(average_interval([[10], [30]], [40]), wilson([10, 30], 40))


@pytest.mark.parametrize("n", [100, 1000])
def test_the_average_covers_at_any_accuracy(n: int) -> None:
    """Exact, not simulated, for .001 to 30 expected errors; Wilson alone falls to 84 % at .17 and to 92 % at 1."""
    hits, p = np.arange(n + 1), np.linspace(1e-5, 0.3, 3001) if n == 100 else np.linspace(1e-6, 0.03, 3001)
    chance = stats.binom.pmf(hits, n, p[:, None])

    def least(limits: np.ndarray) -> float:
        return float((chance * ((limits[:, 0] <= p[:, None]) & (p[:, None] <= limits[:, 1]))).sum(axis=1).min())

    assert least(wilson(hits, n)) < 0.85
    assert least(average_interval(hits[:, None], [n])) > 0.925


def test_the_class_average_of_unequal_counts_by_hand() -> None:
    """Two classes: below = sqrt(sum (p - low)^2) / 2 with each class's exact limits, above likewise."""
    limits, p = clopper_pearson([3, 90], [10, 100]), np.array([0.3, 0.9])
    below, above = (np.sqrt(((limits[:, side] - p) ** 2).sum()) / 2 for side in (0, 1))
    np.testing.assert_allclose(class_average_interval([3, 90], [10, 100]), [0.6 - below, 0.6 + above])


@given(tables, st.floats(0.5, 0.99))
def test_every_interval_holds_its_estimate(table: list[tuple[int, int]], confidence: float) -> None:
    hits, count = np.array(table).T
    accuracy = classwise.accuracy_of(hits, count)
    values = {
        "average": classwise.average(accuracy, count),
        "class_average": classwise.class_average(accuracy),
        "worst_class": classwise.worst_class_accuracy(accuracy),
        "worst_10pct": classwise.worst_share(accuracy, 0.1),
        "worst_20pct": classwise.worst_share(accuracy, 0.2),
        "std": classwise.std(accuracy),
        "normalized_std": classwise.normalized_std(accuracy),
        "normalized_std_ddof1": classwise.normalized_std(accuracy, ddof=1),
        "gap": classwise.class_gap(accuracy),
    }
    found = metric_intervals(hits, count, confidence=confidence)
    assert set(found) == set(values) == set(METRICS)
    for name, value in values.items():
        low, high = found[name]
        if np.isnan(value):
            continue
        assert low - 1e-9 <= value <= high + 1e-9, name


def test_less_confidence_is_never_wider() -> None:
    hits, count = np.array([20, 35, 60, 61]), np.full(4, 100)
    narrow, wide = metric_intervals(hits, count, confidence=0.8), metric_intervals(hits, count, confidence=0.99)
    for name in METRICS:
        assert wide[name][0] <= narrow[name][0]
        assert narrow[name][1] <= wide[name][1]
        assert wide[name][1] - wide[name][0] > narrow[name][1] - narrow[name][0]


def test_no_class_is_undefined() -> None:
    for limits in metric_intervals([0, 0], [0, 0]).values():
        assert np.isnan(limits).all()


def test_what_is_no_count_is_refused() -> None:
    with pytest.raises(BadInput, match="whole numbers"):
        metric_intervals([0.5, 1], [2, 2])
