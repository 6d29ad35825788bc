from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats import contingency_tables, multitest

from fairbench.errors import BadInput
from fairbench.metrics.binomial import exact_lower, exact_upper
from fairbench.metrics.paired import PairedCounts, average_difference, holm, mcnemar, mcnemar_one_sided


def _pairs(count: list[int], both: list[int], lost: list[int], gained: list[int]) -> PairedCounts:
    return PairedCounts(*(np.array(part, dtype=np.int64) for part in (count, both, lost, gained)))


def test_counts_by_hand() -> None:
    """Class 0: robust in both, lost, gained, neither; class 1: both; class 2 absent."""
    pairs = PairedCounts.of([0, 0, 0, 0, 1], [1, 1, 0, 0, 1], [1, 0, 1, 0, 1], 3)
    assert [part.tolist() for part in (pairs.count, pairs.both, pairs.lost, pairs.gained)] == [
        [4, 1, 0], [1, 1, 0], [1, 0, 0], [1, 0, 0],
    ]  # fmt: skip
    np.testing.assert_array_equal(pairs.before, [0.5, 1.0, np.nan])
    np.testing.assert_array_equal(pairs.after, [0.5, 1.0, np.nan])
    assert pairs.present.count.tolist() == [4, 1]


def test_mcnemar_by_hand() -> None:
    """5 lost, 1 gained: two-sided 2 (1 + 6) / 64 = .21875; one-sided, at least 5 of 6 lost, (6 + 1) / 64."""
    assert mcnemar(5, 1) == pytest.approx(14 / 64)
    assert mcnemar(1, 5) == pytest.approx(14 / 64)
    assert mcnemar_one_sided(5, 1) == pytest.approx(7 / 64)
    assert mcnemar_one_sided(1, 5) == pytest.approx(63 / 64)
    assert mcnemar(0, 0) == mcnemar(3, 3) == mcnemar_one_sided(0, 0) == 1.0


@given(st.integers(0, 400), st.integers(0, 400))
def test_statsmodels_and_scipy_agree(lost: int, gained: int) -> None:
    theirs = contingency_tables.mcnemar([[10, lost], [gained, 10]], exact=True).pvalue
    assert mcnemar(lost, gained) == pytest.approx(min(float(theirs), 1.0), rel=1e-9)
    if lost + gained:
        worse = stats.binomtest(lost, lost + gained, 0.5, alternative="greater").pvalue
        assert mcnemar_one_sided(lost, gained) == pytest.approx(worse, rel=1e-9)


def test_holm_by_hand() -> None:
    """.01 * 3, max(.03, .02 * 2), max(.04, .04 * 1); the absent class is no test."""
    np.testing.assert_allclose(holm([0.04, math.nan, 0.01, 0.02]), [0.04, np.nan, 0.03, 0.04])
    np.testing.assert_allclose(holm([0.9, 0.8]), [1.0, 1.0])
    assert holm([]).size == 0


@pytest.mark.parametrize("num", [1, 2, 10, 40])
def test_holm_is_that_of_statsmodels(num: int) -> None:
    p = np.random.default_rng(num).random(num) ** 3
    np.testing.assert_allclose(holm(p), multitest.multipletests(p, method="holm")[1], atol=1e-12)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_holm_only_raises_and_keeps_the_order(p: list[float]) -> None:
    adjusted, order = holm(p), np.argsort(p, kind="stable")
    assert (adjusted >= np.array(p)).all()
    assert (np.diff(adjusted[order]) >= 0).all()
    assert adjusted.min() == pytest.approx(min(1.0, len(p) * min(p)))


def test_the_bootstrap_of_the_average_is_that_of_scipy() -> None:
    """400 images: 60 lost, 100 gained."""
    change = np.repeat([-1, 1, 0], [60, 100, 240])
    found = average_difference(_pairs([400], [120], [60], [100]))
    theirs = stats.bootstrap(
        (change,), np.mean, method="percentile", n_resamples=20_000, rng=np.random.default_rng(0)
    ).confidence_interval
    assert found.value == pytest.approx(0.1)
    assert (found.low, found.high) == pytest.approx((theirs.low, theirs.high), abs=0.003)
    assert found.decided
    assert found == average_difference(_pairs([300, 100], [80, 40], [20, 40], [80, 20]))


def test_no_change_is_not_certainty() -> None:
    """Of 100 images none changed: at .025 each share may still be 1 - .025^(1/100), and the other is 0 then."""
    found = average_difference(_pairs([100], [50], [0], [0]))
    edge = 1 - 0.025**0.01
    assert (found.value, found.low, found.high) == (0.0, pytest.approx(-edge), pytest.approx(edge))
    assert not found.decided


def test_few_changes_combine_exact_limits() -> None:
    """7 lost and 0 gained of 50: -7/50 + sqrt((gained's upper)^2 + (7/50 - lost's lower)^2), no correlation."""
    found = average_difference(_pairs([50], [30], [7], [0]))
    up, down = 1 - 0.025 ** (1 / 50), 7 / 50 - exact_lower(7, 50, error=0.025)
    assert found.high == pytest.approx(-0.14 + np.hypot(up, down))
    assert found.low == pytest.approx(-0.14 - (exact_upper(7, 50, error=0.025) - 0.14))
    assert found.decided
    assert mcnemar(7, 0) == 2 / 2**7


@pytest.mark.parametrize("total", [20, 50, 300, 5_000])
def test_the_interval_of_the_average_leaves_out_0_where_mcnemar_decides(total: int) -> None:
    for changed in (*range(min(total, 30)), *(m for m in (60, 99, 100, 137) if m <= total)):
        for lost in range(changed + 1):
            found = average_difference(_pairs([total], [total - changed], [lost], [changed - lost]))
            assert found.decided == (mcnemar(lost, changed - lost) < 0.05), (lost, changed - lost)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5])
@pytest.mark.parametrize("total", [20, 50, 200, 1_000])
def test_the_interval_of_the_average_covers(total: int, share: float) -> None:
    """Exact coverage, summed over every outcome; `changes` are expected, of which a share is gained."""
    for changes in (0.5, 1, 2, 4, 7, 12, 20, 50, 150):
        lost, gained = changes / total * (1 - share), changes / total * share
        if lost + gained > 0.8 or (share and changes > 20):
            continue  # the rest of them are many outcomes, and like their neighbours
        b, c = np.meshgrid(np.arange(total + 1), np.arange(total + 1 if gained else 1))
        chances = stats.multinomial.pmf(
            np.stack([b, c, total - b - c], axis=-1), total, [lost, gained, 1 - lost - gained]
        )
        likely = np.argwhere(chances > 1e-6)
        assert chances[chances > 1e-6].sum() > 0.998
        covered = 0.0
        for c_b in likely:
            found = average_difference(_pairs([total], [total - c_b.sum()], [c_b[1]], [c_b[0]]))
            covered += chances[tuple(c_b)] * (found.low <= gained - lost <= found.high)
        assert covered >= 0.94, changes


def test_nothing_to_compare_is_undefined() -> None:
    assert math.isnan(average_difference(_pairs([0], [0], [0], [0])).value)


def test_different_images_are_refused() -> None:
    with pytest.raises(BadInput, match="same images"):
        PairedCounts.of([0, 1], [True, True], [True], 2)
