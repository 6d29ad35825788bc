from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairbench.metrics.binomial import clopper_pearson, exact_lower, exact_upper
from fairbench.metrics.box import std_range
from fairbench.metrics.difference import normalized_std_difference, std_difference, worst_class_difference
from fairbench.metrics.paired import PairedCounts

DIFFERENCES = (worst_class_difference, std_difference, normalized_std_difference)

cells = st.tuples(*(st.integers(0, 30) for _ in range(4))).filter(any)
tables = st.lists(cells, min_size=1, max_size=6)
even_tables = st.lists(st.permutations([8, 10, 12, 30]), min_size=2, max_size=6)


def _pairs(table: list[tuple[int, ...]]) -> PairedCounts:
    """From rows of (both, lost, gained, neither)."""
    parts = np.array(table, dtype=np.int64)
    return PairedCounts(parts.sum(axis=1), parts[:, 0], parts[:, 1], parts[:, 2])


def test_one_class_is_a_paired_difference() -> None:
    """100 images, 5 lost and 15 gained: .1, and with one class 80 % of each 2.5 % is for the paired limit.

    Its squares add with the correlation of two cells of a multinomial, sqrt(.05 * .15 / (.95 * .85)), doubled.
    """
    found = worst_class_difference(_pairs([(40, 5, 15, 40)]))
    up = exact_upper(15, 100, error=0.02) - 0.15
    down = 0.05 - exact_lower(5, 100, error=0.02)
    correlation = math.sqrt(0.05 * 0.15 / (0.95 * 0.85))
    assert found.value == pytest.approx(0.1)
    assert found.high == pytest.approx(0.1 + math.sqrt(up**2 + down**2 + 2 * correlation * up * down))


def test_pairing_helps_where_the_worst_class_is_clear() -> None:
    """A clear worst class with few changed images: the interval is far narrower than that of two unpaired runs."""
    found = worst_class_difference(_pairs([(15, 2, 8, 75), (90, 2, 2, 6), (85, 5, 5, 5)]))
    before, after = clopper_pearson(17, 100), clopper_pearson(23, 100)
    unpaired = (after[1] - after[0]) + (before[1] - before[0])
    assert found.value == pytest.approx(0.06)
    assert found.high - found.low < 0.6 * unpaired
    # The other classes are out of reach, so the limit is the paired one, with half of 80 % of the 2.5 %.
    one = _pairs([(15, 2, 8, 75)])
    up, down = exact_upper(8, 100, error=0.01) - 0.08, 0.02 - exact_lower(2, 100, error=0.01)
    correlation = math.sqrt(0.02 * 0.08 / (0.98 * 0.92))
    assert found.high == pytest.approx(0.06 + math.sqrt(up**2 + down**2 + 2 * correlation * up * down))
    assert worst_class_difference(one).high < found.high


def test_a_tie_for_the_worst_class_widens_the_interval() -> None:
    """Two classes lose their rank: either may have been the worst, and they changed in opposite directions."""
    clear = worst_class_difference(_pairs([(20, 0, 10, 70), (80, 10, 0, 10)]))
    tied = worst_class_difference(_pairs([(20, 0, 10, 70), (15, 10, 0, 75)]))
    assert clear.low > 0
    assert tied.low < tied.value < 0


def test_few_errors_subtract_two_boxes() -> None:
    """Sidak over 2 K = 4 accuracies: .95^(1/4)."""
    found = std_difference(_pairs([(96, 1, 2, 1), (50, 10, 10, 30)]))
    box = clopper_pearson([[97, 60], [98, 60]], 100, confidence=0.95**0.25)
    (low_before, high_before), (low_after, high_after) = std_range(box)
    assert (found.low, found.high) == pytest.approx((low_after - high_before, high_after - low_before))


def test_with_very_many_images_it_is_the_delta_method() -> None:
    """d std = sum d_c dp_c / (K std): both runs' terms, with their covariance; limits at the 95.5 % it promises."""
    n = 10_000_000
    table = np.round(np.array([[0.1, 0.1, 0.2, 0.6], [0.4, 0.1, 0.1, 0.4], [0.6, 0.2, 0.1, 0.1]]) * n).astype(int)
    pairs = _pairs([tuple(row) for row in table])
    p, q, both = pairs.before, pairs.after, pairs.both / n
    a, b = (p - p.mean()) / (3 * p.std()), (q - q.mean()) / (3 * q.std())
    variance = (a**2 * p * (1 - p) + b**2 * q * (1 - q) - 2 * a * b * (both - p * q)).sum() / n
    half = 2.0047 * math.sqrt(variance)
    found = std_difference(pairs)
    assert found.value == pytest.approx(q.std() - p.std())
    assert found.high - found.value == pytest.approx(half, rel=0.02)
    assert found.value - found.low == pytest.approx(half, rel=0.02)


@settings(max_examples=60)
@given(st.one_of(tables, even_tables))
def test_intervals_hold_the_estimate_and_turn_with_the_runs(table: list[tuple[int, ...]]) -> None:
    pairs = _pairs(table)
    before, after = pairs.before, pairs.after
    values = [after.min() - before.min(), after.std() - before.std()]
    if min(before.mean(), after.mean()) > 0:
        values.append(after.std() / after.mean() - before.std() / before.mean())
    for difference, value in zip(DIFFERENCES, values, strict=False):
        found, turned = difference(pairs), difference(pairs.swapped)
        assert found.value == pytest.approx(value, abs=1e-12)
        assert found.low - 1e-12 <= found.value <= found.high + 1e-12
        assert (turned.value, turned.low, turned.high) == pytest.approx(
            (-found.value, -found.high, -found.low), abs=1e-9
        )
    assert worst_class_difference(pairs).low >= -1
    assert worst_class_difference(pairs).high <= 1


@given(even_tables)
def test_the_order_of_classes_and_absent_ones_change_nothing(table: list[tuple[int, ...]]) -> None:
    for difference in DIFFERENCES:
        found, other = difference(_pairs(table)), difference(_pairs([(0, 0, 0, 0), *table[::-1]]))
        assert (found.value, found.low, found.high) == pytest.approx((other.value, other.low, other.high), abs=1e-9)


def test_undefined_stays_undefined() -> None:
    for difference in DIFFERENCES:
        assert math.isnan(difference(_pairs([(0, 0, 0, 0)])).value)
    assert math.isnan(normalized_std_difference(_pairs([(0, 0, 5, 5), (0, 0, 5, 5)])).value)
