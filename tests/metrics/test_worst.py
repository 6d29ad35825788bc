from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special

from fairbench.errors import BadInput
from fairbench.metrics.binomial import clopper_pearson, exact_lower, exact_upper, simultaneous_box
from fairbench.metrics.box import worst_share_range
from fairbench.metrics.worst import (
    probability_worst,
    worst_class_interval,
    worst_class_interval_within,
    worst_share_interval,
)

tables = st.lists(
    st.integers(1, 60).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))), min_size=1, max_size=9
)


def test_the_worst_class_of_two_by_hand() -> None:
    """0 of 20 and 20 of 20. Lower: 0. Upper: the first class at error (1 - sqrt(.95)) / 2: 1 - error^(1/20)."""
    error = (1 - 0.95**0.5) / 2
    np.testing.assert_allclose(worst_class_interval([0, 20], [20, 20]), [0.0, 1 - error ** (1 / 20)])


def test_the_two_errors_by_hand() -> None:
    """20 of 20 twice. Each upper limit errs with e = (1 - sqrt(.95)) / 2 = .01266, one of both with 1 - (1 - e)^2 =
    .02516, which leaves .02484 for the lower limit: .02484^(1/20) = .83130."""
    low, high = worst_class_interval([20, 20], [20, 20])
    error = (1 - 0.95**0.5) / 2
    assert high == 1.0
    assert low == pytest.approx((0.05 - (1 - (1 - error) ** 2)) ** (1 / 20))
    assert low == pytest.approx(0.83130, abs=1e-5)


def test_one_class_has_exact_limits() -> None:
    np.testing.assert_allclose(worst_class_interval([7], [30]), clopper_pearson(7, 30), rtol=1e-12)


@given(tables, st.floats(0.5, 0.999))
def test_it_lies_within_the_box(table: list[tuple[int, int]], confidence: float) -> None:
    hits, count = np.array(table).T
    low, high = worst_class_interval(hits, count, confidence=confidence)
    box = simultaneous_box(hits, count, confidence=confidence)
    assert low >= box[:, 0].min() - 1e-12
    assert high == box[:, 1].min()


def test_both_limits_may_come_from_other_classes_than_the_worst() -> None:
    """3 of 10 is lowest, but 3 of 9 has too few images to exclude less, and 350 of 1000 bounds from above."""
    hits, count = np.array([30, 1, 340]), np.array([100, 3, 1000])
    low, high = worst_class_interval(hits, count)
    error = (1 - 0.95 ** (1 / 3)) / 2
    assert low == pytest.approx(exact_lower(1, 3, error=0.05 - (1 - (1 - error) ** 3)))
    assert high == pytest.approx(exact_upper(340, 1000, error=error))


def test_hits_between_bounds_give_the_widest_limits() -> None:
    """Between 1 and 3 of 10, or 4 of 10: the lower limit is that of 1 of 10, the upper that of 3 of 10.

    Two classes: the upper one has the exact box's error e = (1 - .95^(1/2)) / 2, the lower one .05 - (1 - (1 - e)^2).
    """
    e = (1 - 0.95**0.5) / 2
    low, high = worst_class_interval_within([1, 4], [3, 4], [10, 10])
    assert low == pytest.approx(exact_lower(1, 10, error=0.05 - (1 - (1 - e) ** 2)))
    assert high == pytest.approx(exact_upper(3, 10, error=e))
    for hits in (1, 2, 3):
        inner = worst_class_interval([hits, 4], [10, 10])
        assert low - 1e-12 <= inner[0] < inner[1] <= high + 1e-12  # the inverse rounds


def test_worst_shares_are_ranges_over_the_box() -> None:
    hits, count = np.arange(10) * 9 + 5, np.full(10, 100)
    np.testing.assert_array_equal(worst_share_interval(hits, count, 0.1), worst_class_interval(hits, count))
    np.testing.assert_array_equal(
        worst_share_interval(hits, count, 0.2), worst_share_range(simultaneous_box(hits, count), 0.2)
    )


def test_an_absent_class_changes_nothing() -> None:
    np.testing.assert_array_equal(worst_class_interval([3, 0, 8], [10, 0, 10]), worst_class_interval([3, 8], [10, 10]))
    assert np.isnan(worst_class_interval([0], [0])).all()
    assert np.isnan(worst_share_interval([0], [0], 0.1)).all()


@given(tables)
def test_intervals_hold_the_estimate(table: list[tuple[int, int]]) -> None:
    hits, count = np.array(table).T
    low, high = worst_class_interval(hits, count)
    assert 0 <= low <= (hits / count).min() <= high <= 1


def test_equal_classes_are_equally_likely_the_worst() -> None:
    for num in (2, 5, 40):
        found = [probability_worst([7] * num, [20] * num, index) for index in (0, num - 1)]
        np.testing.assert_allclose(found, 1 / num, atol=1e-6)


def test_two_uniform_posteriors_by_hand() -> None:
    """One image each, one hit and one miss: posteriors Beta(3/2, 1/2) and Beta(1/2, 3/2).

    With x = sin^2(a) the second has the density (4/pi) cos^2(a) on [0, pi/2] and the first (4/pi) sin^2(a). P(second <
    first) = int (4/pi) sin^2(a) [(2/pi)(a + sin(a) cos(a))] da = 1/2 + 4/pi^2 = .905285: with the integrals
    int a sin^2(a) da = pi^2/16 + 1/4 and int sin^3(a) cos(a) da = 1/4.
    """
    assert probability_worst([1, 0], [1, 1], 1) == pytest.approx(0.5 + 4 / np.pi**2, abs=1e-6)


def test_simulation_agrees() -> None:
    hits, count = np.array([30, 33, 36, 80]), np.array([100, 100, 90, 100])
    draws = np.random.default_rng(0).beta(hits + 0.5, count - hits + 0.5, size=(200_000, 4))
    simulated = np.bincount(draws.argmin(axis=1), minlength=4) / len(draws)
    found = [probability_worst(hits, count, index) for index in range(4)]
    np.testing.assert_allclose(found, simulated, atol=0.005)


@settings(max_examples=30)
@given(tables.filter(lambda table: len(table) > 1))
def test_probabilities_add_up_and_the_order_does_not_matter(table: list[tuple[int, int]]) -> None:
    hits, count = np.array(table).T
    found = [probability_worst(hits, count, index) for index in range(len(table))]
    assert sum(found) == pytest.approx(1, abs=1e-3)
    assert probability_worst(hits[::-1], count[::-1], len(table) - 1) == pytest.approx(found[0], abs=1e-9)


def test_an_absent_class_cannot_be_asked_about() -> None:
    assert probability_worst([3, 0], [10, 0], 0) == pytest.approx(1.0)
    for index in (1, 2, -1):
        with pytest.raises(BadInput, match="no samples"):
            probability_worst([3, 0], [10, 0], index)


@pytest.mark.parametrize("seed", range(20))
def test_classes_far_above_are_factors_of_one_to_the_last_bit(seed: int) -> None:
    random = np.random.default_rng(seed)
    count = random.integers(1, 2_000, 30)
    hits = random.binomial(count, random.uniform(0.1, 0.99, 30))
    index = int((hits / count).argmin())
    node, weight = np.polynomial.legendre.leggauss(400)
    quantile = special.betaincinv(hits[index] + 0.5, count[index] - hits[index] + 0.5, (node + 1) / 2)
    others = np.arange(30) != index
    pairs, times = np.unique(np.stack([hits[others], count[others]], axis=1), axis=0, return_counts=True)
    above = special.betaincc(pairs[:, :1] + 0.5, pairs[:, 1:] - pairs[:, :1] + 0.5, quantile)
    assert probability_worst(hits, count, index) == float((weight / 2 * np.prod(above ** times[:, None], axis=0)).sum())
