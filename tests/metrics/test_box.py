from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import optimize

from fairbench.metrics import box as module
from fairbench.metrics.box import gap_range, normalized_std_range, std_range, worst_share_range

ends = st.integers(0, 1000).map(lambda thousandths: thousandths / 1000)
boxes = st.lists(st.tuples(ends, ends).map(sorted), min_size=1, max_size=6).map(np.array)


def _corners(box: np.ndarray) -> np.ndarray:
    return np.array(list(itertools.product(*box)))


def _nsd(accuracy: np.ndarray) -> float:
    return float(accuracy.std() / accuracy.mean()) if accuracy.mean() > 0 else 0.0


def test_two_classes_by_hand() -> None:
    """[.1, .3] and [.6, .7]: nearest .3, .6 (gap .3, std .15, NSD .15 / .45), farthest .1, .7 (.6, .3, .3 / .4)."""
    box = np.array([[0.1, 0.3], [0.6, 0.7]])
    np.testing.assert_allclose(gap_range(box), [0.3, 0.6])
    np.testing.assert_allclose(std_range(box), [0.15, 0.3])
    np.testing.assert_allclose(normalized_std_range(box), [1 / 3, 3 / 4])
    np.testing.assert_allclose(worst_share_range(box, 0.5), [0.1, 0.3])
    np.testing.assert_allclose(worst_share_range(box, 1.0), [0.35, 0.5])


def test_boxes_that_overlap_may_tie_exactly() -> None:
    box = np.array([[0.1, 0.5], [0.4, 0.7], [0.45, 0.46]])
    assert gap_range(box)[0] == std_range(box)[0] == normalized_std_range(box)[0] == 0.0


def test_the_widest_gap_is_between_two_classes() -> None:
    """One wide class [0, 1] and two points at .5: not 1 - 0, which is one class, but .5."""
    np.testing.assert_allclose(gap_range(np.array([[0.0, 1.0], [0.5, 0.5], [0.5, 0.5]])), [0.0, 0.5])


def test_one_class_has_no_spread() -> None:
    box = np.array([[0.2, 0.9]])
    for span in (gap_range, std_range, normalized_std_range):
        np.testing.assert_array_equal(span(box), [0.0, 0.0])


def test_normalized_std_reaches_its_bound_at_zero() -> None:
    """All classes may be at 0; a single one above it gives sqrt(K - 1) however small it is."""
    for num in (5, 17):
        np.testing.assert_allclose(normalized_std_range(np.array([[0.0, 0.01]] * num)), [0.0, np.sqrt(num - 1)])


@given(boxes)
def test_upper_ends_are_the_best_corner(box: np.ndarray) -> None:
    corners = _corners(box)
    assert std_range(box)[1] == pytest.approx(corners.std(axis=1).max(), abs=1e-7)
    assert gap_range(box)[1] == pytest.approx(np.ptp(corners, axis=1).max(), abs=1e-12)
    # Below 1e-9 a mean is a rounding error, and NSD with it.
    fitting = [_nsd(corner) for corner in corners if corner.mean() > 1e-9]
    if fitting and box[:, 0].mean() > 1e-9:
        assert normalized_std_range(box)[1] == pytest.approx(max(fitting), rel=1e-6, abs=1e-6)


def test_with_many_classes_the_bound_lies_just_above_the_best_corner(monkeypatch: pytest.MonkeyPatch) -> None:
    """Six classes are few enough to try all corners by hand, and the bound of many classes must hold for them too."""
    monkeypatch.setattr(module, "_ALL_CORNERS", 0)
    rng = np.random.default_rng(0)
    for _ in range(200):
        box = np.sort(0.3 + 0.4 * rng.random((6, 2)), axis=-1)
        corners = _corners(box)
        best = corners.std(axis=1).max()
        assert best - 1e-12 <= std_range(box)[1] <= 1.06 * best
        best = (corners.std(axis=1) / corners.mean(axis=1)).max()
        assert best - 1e-12 <= normalized_std_range(box)[1] <= 1.06 * best


def test_lower_ends_are_the_smallest_inside() -> None:
    """A numerical optimiser cannot get below them, and gets there."""
    rng = np.random.default_rng(1)
    for _ in range(20):
        box = np.sort(rng.random((4, 2)), axis=-1)
        for span, value in ((std_range, np.var), (normalized_std_range, lambda x: np.var(x) / np.mean(x) ** 2)):
            starts = rng.uniform(box[:, 0], box[:, 1], size=(3, 4))
            found = min(optimize.minimize(value, start, bounds=box, tol=1e-14).fun for start in starts)
            assert span(box)[0] == pytest.approx(max(found, 0) ** 0.5, abs=1e-3)
            assert span(box)[0] <= max(found, 0) ** 0.5 + 1e-7


@given(boxes, st.data())
def test_every_point_of_the_box_is_within_all_ranges(box: np.ndarray, data: st.DataObject) -> None:
    part = np.array(data.draw(st.lists(st.floats(0, 1), min_size=len(box), max_size=len(box))))
    point = np.clip(box[:, 0] + part * (box[:, 1] - box[:, 0]), box[:, 0], box[:, 1])
    checks = [(std_range, point.std()), (gap_range, np.ptp(point))]
    if point.mean() > 1e-6:
        checks.append((normalized_std_range, _nsd(point)))
    for span, value in checks:
        low, high = span(box)
        assert low - 1e-7 <= value <= high + 1e-7


def test_many_boxes_at_once_are_each_of_them() -> None:
    rng = np.random.default_rng(2)
    for num in (4, 15):
        many = np.sort(rng.random((7, num, 2)), axis=-1)
        for span in (gap_range, std_range, normalized_std_range, lambda b: worst_share_range(b, 0.4)):
            np.testing.assert_allclose(span(many), [span(one) for one in many], atol=1e-12)
