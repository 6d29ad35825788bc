from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.proportion import proportion_confint

from fairbench.errors import BadInput
from fairbench.metrics.binomial import (
    binomial_cdf,
    binomial_quantile,
    clopper_pearson,
    exact_lower,
    exact_upper,
    present_counts,
    sidak,
    simultaneous_box,
    wilson,
)

counts = st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))


def test_wilson_by_hand() -> None:
    """k = 0: the limits are 0 and z^2 / (n + z^2); n = 100, z^2 = 3.841459: .036994. k = n mirrors it.

    k = 50 of 100: middle .5, half = z sqrt(.25/100 + z^2/40000) / (1 + z^2/100) = .0998627 / 1.0384146 = .0961685.
    """
    limits = wilson([0, 50, 100], 100)
    np.testing.assert_allclose(limits[0], [0, 3.841458821 / 103.841458821], atol=1e-9)
    np.testing.assert_allclose(limits[1], [0.5 - 0.0961685, 0.5 + 0.0961685], atol=1e-7)
    np.testing.assert_allclose(limits[2], [100 / 103.841458821, 1], atol=1e-9)


def test_exact_limits_in_closed_form() -> None:
    """0 of n: the upper limit u solves (1 - u)^n = error; n of n: the lower one l solves l^n = error."""
    assert exact_upper(0, 20, error=0.025) == pytest.approx(1 - 0.025 ** (1 / 20))
    assert exact_lower(20, 20, error=0.025) == pytest.approx(0.025 ** (1 / 20))
    assert (exact_lower(0, 20, error=0.025), exact_upper(20, 20, error=0.025)) == (0.0, 1.0)


@pytest.mark.parametrize("confidence", [0.9, 0.95, 0.999])
def test_statsmodels_and_scipy_agree(confidence: float) -> None:
    hits, n = np.arange(41), 40
    for ours, name in ((wilson, "wilson"), (clopper_pearson, "beta")):
        low, high = proportion_confint(hits, n, alpha=1 - confidence, method=name)
        np.testing.assert_allclose(ours(hits, n, confidence=confidence), np.stack([low, high], -1), atol=1e-12)
    theirs = stats.binomtest(7, 40).proportion_ci(confidence, method="exact")
    np.testing.assert_allclose(clopper_pearson(7, 40, confidence=confidence), [theirs.low, theirs.high], atol=1e-12)


@pytest.mark.parametrize("n", [10, 50, 100, 1000])
def test_wilson_covers_95_percent_averaged_over_p(n: int) -> None:
    """Exact, not simulated: sum over hits of P(hits | p) where the limits hold p, averaged over an even grid of p."""
    hits, p = np.arange(n + 1), (np.arange(2001) + 0.5) / 2001
    limits = wilson(hits, n)
    inside = (limits[:, 0] <= p[:, None]) & (p[:, None] <= limits[:, 1])
    covered = (stats.binom.pmf(hits, n, p[:, None]) * inside).sum(axis=1)
    assert 0.94 <= covered.mean() <= 0.96


@pytest.mark.parametrize("n", [5, 50])
def test_exact_limits_never_cover_less_than_promised(n: int) -> None:
    hits, p = np.arange(n + 1), np.linspace(0.0005, 0.9995, 1501)
    limits = clopper_pearson(hits, n)
    inside = (limits[:, 0] <= p[:, None]) & (p[:, None] <= limits[:, 1])
    assert (stats.binom.pmf(hits, n, p[:, None]) * inside).sum(axis=1).min() >= 0.95 - 1e-12


def test_sidak_makes_independent_intervals_hold_together() -> None:
    assert sidak(0.95, 10) ** 10 == pytest.approx(0.95)
    box = simultaneous_box([5, 7, 0], [10, 10, 0])
    # The absent third class does not count: two intervals at sqrt(.95).
    np.testing.assert_allclose(box[0], clopper_pearson(5, 10, confidence=0.95**0.5))
    assert np.isnan(box[2]).all()


@given(counts, st.floats(0.5, 0.999))
def test_limits_hold_the_estimate_and_mirror(pair: tuple[int, int], confidence: float) -> None:
    k, n = pair
    for interval in (wilson, clopper_pearson):
        low, high = interval(k, n, confidence=confidence)
        assert 0 <= low <= k / n <= high <= 1
        mirrored = interval(n - k, n, confidence=confidence)
        assert low == pytest.approx(1 - mirrored[1], abs=1e-9)


@given(counts)
def test_more_confidence_is_wider(pair: tuple[int, int]) -> None:
    for interval in (wilson, clopper_pearson):
        narrow, wide = interval(*pair, confidence=0.8), interval(*pair, confidence=0.99)
        assert wide[0] <= narrow[0] + 1e-12
        assert narrow[1] <= wide[1] + 1e-12


def test_no_samples_is_undefined() -> None:
    assert np.isnan(wilson([0], [0])).all()
    assert np.isnan(clopper_pearson([0], [0])).all()


@pytest.mark.parametrize(("hits", "count"), [(5, 4), (-1, 4), (1.5, 4)])
def test_what_is_no_count_is_refused(hits: float, count: int) -> None:
    with pytest.raises(BadInput, match="whole numbers"):
        wilson(hits, count)


def test_counts_that_differ_between_tables_are_refused() -> None:
    with pytest.raises(BadInput, match="list of K numbers"):
        present_counts([[1, 2]], [[3, 4]])


@pytest.mark.parametrize("confidence", [0.0, 1.0, 95.0])
def test_a_confidence_outside_its_range_is_refused(confidence: float) -> None:
    with pytest.raises(BadInput, match="between 0 and 1"):
        wilson(1, 4, confidence=confidence)


@pytest.mark.parametrize("count", [1, 2, 50, 1000, 10_000])
@pytest.mark.parametrize("p", [0.0, 1e-6, 0.3, 0.5, 0.999, 1.0])
def test_binomial_is_scipys(count: int, p: float):
    hits = np.arange(count + 1) if count <= 1000 else np.linspace(0, count, 300).astype(int)
    assert binomial_cdf(hits, count, p) == pytest.approx(stats.binom.cdf(hits, count, p), abs=1e-13)
    for level in (1e-13, 0.025, 0.5, 0.975, 1 - 1e-13):
        assert binomial_quantile(level, count, p) == max(stats.binom.ppf(level, count, p), 0)
