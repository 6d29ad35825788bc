from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from fairbench.metrics.binomial import simultaneous_box
from fairbench.metrics.box import gap_range, normalized_std_range, std_range
from fairbench.metrics.spread import (
    cumulants,
    gap_interval,
    normalized_std_interval,
    parts,
    regular,
    scales,
    std_interval,
)

tables = st.lists(
    st.integers(1, 60).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))), min_size=1, max_size=9
)
even_tables = st.integers(10, 80).flatmap(
    lambda n: st.lists(st.integers(0, n), min_size=2, max_size=9).map(lambda hits: (hits, [n] * len(hits)))
)
ACCURACY = np.array([0.2, 0.4, 0.45, 0.9])


@pytest.mark.parametrize("relative", [False, True])
def test_cumulants_are_those_of_the_quadratic_form(relative: bool) -> None:
    """x ~ N(d, V): x'Mx + 2 (b - d)'x has cumulants 2^(r-1) (r-1)! [tr(MV)^r + r b'(VM)^(r-2) V b], by matrices."""
    n, scale, num = 50, np.array(0.7), 4
    found = cumulants(ACCURACY, n, scale, relative=relative)
    d = 0.7 * (ACCURACY - ACCURACY.mean())
    p = ACCURACY.mean() + d
    matrix, noise = np.eye(num) - 1 / num, np.diag(p * (1 - p) / n)
    b = d - (d @ d / num / ACCURACY.mean() if relative else 0)
    product = matrix @ noise
    expected = [
        np.trace(product) + d @ d,
        2 * np.trace(product @ product) + 4 * b @ noise @ b,
        8 * np.trace(product @ product @ product) + 24 * b @ noise @ matrix @ noise @ b,
    ]
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_the_linear_part_of_nsd_is_its_derivative() -> None:
    """d/dp of sum (p - mean)^2 / mean^2, times mean^2 / 2, by finite differences."""
    _, linear, _ = parts(ACCURACY, 50, np.array(1.0), relative=True)

    def squared(p: np.ndarray) -> float:
        return float(((p - p.mean()) ** 2).sum() / p.mean() ** 2)

    step = 1e-6
    numeric = [(squared(ACCURACY + step * e) - squared(ACCURACY - step * e)) / (2 * step) for e in np.eye(4)]
    np.testing.assert_allclose(np.array(numeric) * ACCURACY.mean() ** 2 / 2, linear, atol=1e-8)


def test_with_equal_variances_the_lower_test_is_the_chi_squared_test() -> None:
    """At s = 0 all v are equal, T / v is chi-squared with K - 1 = 9 degrees: s = 0 is kept up to its 97.5 % quantile.

    Pooled accuracy .5, n = 100, v = .0025: deviations +-a in pairs give T = 10 a^2, so a^2 = 19.0228 * .0025 / 10.
    """
    edge = np.sqrt(stats.chi2.ppf(0.975, 9) * 0.0025 / 10)
    signs = np.array([1, -1] * 5)
    assert scales(0.5 + 0.99 * edge * signs, 100, 0.95, relative=False)[0] == 0.0
    assert scales(0.5 + 1.01 * edge * signs, 100, 0.95, relative=False)[0] > 0.0


def test_ends_are_where_the_test_turns() -> None:
    """At both ends of the kept scales the gamma distribution puts 97.5 % and 2.5 % below the observed T."""
    low, high = scales(ACCURACY, 50, 0.95, relative=False)
    observed = float(((ACCURACY - ACCURACY.mean()) ** 2).sum())
    for scale, level in ((low, 0.975), (high, 0.025)):
        mean, variance, third = (float(k) for k in cumulants(ACCURACY, 50, scale, relative=False))
        skew = third / variance**1.5
        assert stats.pearson3.cdf(observed, skew, loc=mean, scale=variance**0.5) == pytest.approx(level, abs=1e-9)


def test_nearly_exact_data_give_nearly_exact_limits() -> None:
    """A million images per class: the 95 % interval of std is est +- 1.96 sqrt(sum d^2 v) / (K std) closely."""
    n = 1_000_000
    hits = np.round(ACCURACY * n).astype(int)
    d, v = ACCURACY - ACCURACY.mean(), ACCURACY * (1 - ACCURACY) / n
    half = 1.959964 * np.sqrt((d * d * v).sum()) / (4 * ACCURACY.std())
    limits = std_interval(hits, [n] * 4)
    np.testing.assert_allclose(limits, [ACCURACY.std() - half, ACCURACY.std() + half], atol=5e-3 * half)


def test_few_errors_or_unequal_counts_use_the_exact_box() -> None:
    for hits, count in (([46, 20, 30], [50, 50, 50]), ([4, 20, 30], [50, 50, 50]), ([20, 25, 30], [50, 50, 51])):
        assert not regular(np.array(hits), np.array(count))
        box = simultaneous_box(hits, count)
        np.testing.assert_array_equal(std_interval(hits, count), std_range(box))
        np.testing.assert_array_equal(normalized_std_interval(hits, count), normalized_std_range(box))
    assert regular(np.array([45, 5, 30]), np.array([50, 50, 50]))


@pytest.mark.parametrize("hits", [[25] * 20, [24, 26] * 10])
def test_classes_more_equal_than_chance_get_the_upper_limit_of_the_box(hits: list[int]) -> None:
    """Twenty classes with 25 of 50, v = .005: T / v = 0, or 20 * .02^2 / .005 = 1.6, where chi-squared with 19 degrees
    has its 2.5 % quantile at 8.9. The test rejects even s = 0, so it cannot bound the std from above.
    """
    count = [50] * 20
    low, high = std_interval(hits, count)
    assert low == 0.0
    assert high == std_range(simultaneous_box(hits, count))[1] > np.std(hits) / 50


def test_an_interval_that_ends_below_the_observed_std_is_extended_to_it() -> None:
    """22 and 28 of 50 in turns: T / v = 20 * .06^2 / .005 = 14.4, less than the 19 that equal classes would show. The
    highest s that the test keeps is below 1, and the observed std is .06.
    """
    hits, count = [22, 28] * 10, [50] * 20
    assert scales(np.array(hits) / 50, 50, 0.95, relative=False)[1] < 1
    np.testing.assert_allclose(std_interval(hits, count), [0.0, 0.06])


def test_the_gap_is_the_range_over_the_box() -> None:
    hits, count = [10, 25, 40], [50, 50, 50]
    np.testing.assert_array_equal(gap_interval(hits, count), gap_range(simultaneous_box(hits, count)))


@given(st.one_of(tables.map(lambda t: ([k for k, _ in t], [n for _, n in t])), even_tables))
def test_intervals_hold_the_estimate_in_any_order_of_classes(table: tuple[list[int], list[int]]) -> None:
    hits, count = np.array(table[0]), np.array(table[1])
    accuracy = hits / count
    order = np.random.default_rng(0).permutation(len(hits))
    checks = [(gap_interval, np.ptp(accuracy)), (std_interval, accuracy.std())]
    if accuracy.mean() > 0:
        checks.append((normalized_std_interval, accuracy.std() / accuracy.mean()))
    for interval, value in checks:
        limits = interval(hits, count)
        assert 0 <= limits[0] <= value + 1e-9
        assert value - 1e-9 <= limits[1]
        np.testing.assert_allclose(interval(hits[order], count[order]), limits, atol=1e-7)
    assert gap_interval(hits, count)[1] <= 1
    assert std_interval(hits, count)[1] <= 0.5 + 1e-12
    assert normalized_std_interval(hits, count)[1] <= np.sqrt(len(hits) - 1) + 1e-9


@given(even_tables)
def test_an_absent_class_changes_nothing(table: tuple[list[int], list[int]]) -> None:
    hits, count = table
    for interval in (gap_interval, std_interval, normalized_std_interval):
        np.testing.assert_array_equal(interval([0, *hits], [0, *count]), interval(hits, count))


def test_many_tables_at_once_are_each_of_them() -> None:
    hits = np.random.default_rng(0).binomial(50, [0.2, 0.5, 0.5, 0.6, 0.93], size=(30, 5))
    for interval in (gap_interval, std_interval, normalized_std_interval):
        np.testing.assert_allclose(interval(hits, [50] * 5), [interval(one, [50] * 5) for one in hits], atol=1e-12)


def test_nothing_present_is_undefined() -> None:
    for interval in (gap_interval, std_interval, normalized_std_interval):
        assert np.isnan(interval([0, 0], [0, 0])).all()
