"""Hand-worked class accuracies used throughout: labels 0,0,0,0 | 1,1 | 2,2,2 with 1, 1 and 3 of them robust.

Class accuracies .25, .5, 1. Over samples 5/9. Over classes 1.75/3 = .58333. Deviations -1/3, -1/12, 5/12, squares
16/144, 1/144, 25/144: population variance 42/432 = 7/72, std .311805; with ddof 1, 7/48.
"""

from __future__ import annotations

import math

import fairlearn.metrics
import numpy as np
import pytest
import sklearn.metrics
from hypothesis import given
from hypothesis import strategies as st

from fairbench.errors import BadInput
from fairbench.metrics import classwise

LABELS = [0, 0, 0, 0, 1, 1, 2, 2, 2]
ROBUST = [True, False, False, False, True, False, True, True, True]

accuracies = st.lists(st.one_of(st.floats(0, 1), st.just(math.nan)), min_size=1, max_size=30)


def test_class_accuracy_by_hand() -> None:
    np.testing.assert_array_equal(classwise.class_accuracy(LABELS, ROBUST, 4), [0.25, 0.5, 1.0, np.nan])
    hits, count = classwise.class_tally(LABELS, ROBUST, 4)
    assert (hits.tolist(), count.tolist()) == ([1, 1, 3, 0], [4, 2, 3, 0])


def test_averages_by_hand() -> None:
    accuracy = [0.25, 0.5, 1.0, math.nan]
    assert classwise.average(accuracy, [4, 2, 3, 0]) == pytest.approx(5 / 9)
    assert classwise.class_average(accuracy) == pytest.approx(1.75 / 3)


def test_spread_by_hand() -> None:
    accuracy = [0.25, 0.5, 1.0, math.nan]
    assert classwise.std(accuracy) == pytest.approx(math.sqrt(7 / 72))
    assert classwise.std(accuracy, ddof=1) == pytest.approx(math.sqrt(7 / 48))
    assert classwise.normalized_std(accuracy) == pytest.approx(math.sqrt(7 / 72) / (1.75 / 3))
    # ddof 1 against 0 is a factor of sqrt(K / (K - 1)) = sqrt(3 / 2).
    assert classwise.normalized_std(accuracy, ddof=1) / classwise.normalized_std(accuracy) == pytest.approx(1.5**0.5)
    assert classwise.class_gap(accuracy) == 0.75


def test_the_worst_by_hand() -> None:
    """Ten classes .0 .1 ... .9: ceil(.1 * 10) = 1 class; ceil(.2 * 10) = 2: mean .05; ceil(.25 * 10) = 3: mean .1."""
    accuracy = np.arange(10)[::-1] / 10
    assert classwise.worst_class(accuracy) == 9
    assert classwise.worst_class_accuracy(accuracy) == 0.0
    assert classwise.worst_share(accuracy, 0.1) == 0.0
    assert classwise.worst_share(accuracy, 0.2) == pytest.approx(0.05)
    assert classwise.worst_share(accuracy, 0.25) == pytest.approx(0.1)
    assert classwise.worst_share(accuracy, 1.0) == pytest.approx(0.45)


@pytest.mark.parametrize(
    ("num", "share", "kept"), [(100, 0.07, 7), (70, 0.1, 7), (10, 0.1, 1), (11, 0.1, 2), (3, 0.1, 1), (30, 0.2, 6)]
)
def test_a_share_of_classes_is_not_rounded_up_by_floats(num: int, share: float, kept: int) -> None:
    """0.07 * 100 is 7.000000000000001 in binary: the ceiling must stay 7."""
    assert classwise.classes_in_share(num, share) == kept


def test_the_first_of_tied_worst_classes_is_named() -> None:
    assert classwise.worst_class([0.4, math.nan, 0.2, 0.2]) == 2


def test_rho_reproduces_a_published_value() -> None:
    """DAFA's table (ICLR 2024), CIFAR-10, robust: TRADES 49.80 / 21.31, DAFA 49.05 / 30.53, rho .42; and natural
    82.04 / 65.70 against 81.63 / 67.90, rho .03. Two classes (worst, 2 average - worst) have that average and worst.
    """
    for worst, average, worst_b, average_b, rho in (
        (0.3053, 0.4905, 0.2131, 0.4980, 0.42),
        (0.6790, 0.8163, 0.6570, 0.8204, 0.03),
        (0.2862, 0.4468, 0.2131, 0.4980, 0.24),
    ):
        found = classwise.rho([worst, 2 * average - worst], [worst_b, 2 * average_b - worst_b])
        assert found == pytest.approx(rho, abs=0.005)


def test_rho_by_hand_over_samples() -> None:
    """Worst .2 -> .3: +.5. Average over 3 + 1 samples: .2*.75 + .6*.25 = .3 -> .3*.75 + .9*.25 = .45: +.5. Over
    classes .4 -> .6: +.5 too.
    """
    assert classwise.rho([0.3, 0.9], [0.2, 0.6], count=[3, 1]) == pytest.approx(1.0)
    assert classwise.rho([0.3, 0.9], [0.2, 0.6]) == pytest.approx(1.0)
    assert classwise.rho([0.3, 0.7], [0.2, 0.6], count=[3, 1]) == pytest.approx(0.5 + (0.4 - 0.3) / 0.3)
    assert math.isnan(classwise.rho([0.3, 0.9], [0.0, 0.6]))


def test_nothing_present_is_undefined() -> None:
    nothing = [math.nan, math.nan]
    assert classwise.worst_class(nothing) is None
    for metric in (classwise.class_average, classwise.worst_class_accuracy, classwise.std, classwise.class_gap):
        assert math.isnan(metric(nothing))
    assert math.isnan(classwise.average(nothing, [0, 0]))
    assert math.isnan(classwise.worst_share(nothing, 0.1))
    assert math.isnan(classwise.normalized_std([0.0, 0.0]))
    assert math.isnan(classwise.std([0.5], ddof=1))
    assert classwise.std([0.5]) == 0.0


def test_libraries_agree() -> None:
    """Class accuracy is scikit-learn's recall; fairlearn's MetricFrame groups accuracy by label."""
    rng = np.random.default_rng(0)
    labels, predictions = rng.integers(0, 7, 500), rng.integers(0, 7, 500)
    accuracy = classwise.class_accuracy(labels, labels == predictions, 7)
    np.testing.assert_allclose(accuracy, sklearn.metrics.recall_score(labels, predictions, average=None))
    frame = fairlearn.metrics.MetricFrame(
        metrics=sklearn.metrics.accuracy_score, y_true=labels, y_pred=predictions, sensitive_features=labels
    )
    np.testing.assert_allclose(accuracy, frame.by_group.to_numpy())
    assert classwise.worst_class_accuracy(accuracy) == pytest.approx(frame.group_min())
    assert classwise.worst_class(accuracy) == frame.by_group.idxmin()
    assert classwise.class_gap(accuracy) == pytest.approx(frame.difference())
    assert classwise.average(accuracy, np.bincount(labels)) == pytest.approx(frame.overall)
    balanced = sklearn.metrics.balanced_accuracy_score(labels, predictions)
    assert classwise.class_average(accuracy) == pytest.approx(balanced)


@given(accuracies, st.randoms(use_true_random=False), st.floats(0.01, 1))
def test_metrics_do_not_depend_on_the_order_and_stay_in_bounds(
    values: list[float], random: object, share: float
) -> None:
    shuffled = list(values)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    for metric in (
        classwise.class_average, classwise.worst_class_accuracy, classwise.class_gap, classwise.std,
        lambda v: classwise.worst_share(v, share),
    ):  # fmt: skip
        here, there = metric(values), metric(shuffled)
        assert here == pytest.approx(there, nan_ok=True, abs=1e-12)
        assert math.isnan(here) or -1e-12 <= here <= 1 + 1e-12
    present = [value for value in values if not math.isnan(value)]
    if present:
        assert values[classwise.worst_class(values)] == min(present)  # type: ignore[index]
        low, mean = classwise.worst_class_accuracy(values), classwise.class_average(values)
        assert low - 1e-12 <= classwise.worst_share(values, share) <= mean + 1e-12
        # The population std of values within a range is at most half of it (Popoviciu).
        assert classwise.std(values) <= classwise.class_gap(values) / 2 + 1e-12


@given(accuracies)
def test_an_absent_class_changes_nothing(values: list[float]) -> None:
    more = [math.nan, *values, math.nan]
    for metric in (classwise.class_average, classwise.std, classwise.normalized_std, classwise.class_gap):
        assert metric(more) == pytest.approx(metric(values), nan_ok=True)


@pytest.mark.parametrize(
    ("labels", "robust"),
    [([0, 1], [True]), ([0, 3], [True, True]), ([-1, 0], [True, True]), ([0.5, 1.0], [True, True]), ([0, 1], [2, 0])],
)
def test_what_does_not_fit_is_refused(labels: list[int], robust: list[bool]) -> None:
    with pytest.raises(BadInput):
        classwise.class_accuracy(labels, robust, 3)


@pytest.mark.parametrize("share", [0.0, -0.1, 1.1])
def test_a_share_outside_its_range_is_refused(share: float) -> None:
    with pytest.raises(BadInput, match=r"lie in \(0, 1\]"):
        classwise.worst_share([0.1, 0.2], share)


def test_a_matrix_is_refused() -> None:
    with pytest.raises(BadInput, match="list of K numbers"):
        classwise.std(np.zeros((2, 2)))
