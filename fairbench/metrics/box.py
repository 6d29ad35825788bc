"""The smallest and largest spread that a box of class accuracies allows.

If (low_c, high_c) hold for all classes together with 95 %, then so does [smallest, largest] value of *any* function of
the accuracies over the box: whatever ties, whatever the counts. Functions take a (..., K, 2) box of limits in [0, 1]
without NaN and return (..., 2).

Derivations. Write Q = sum x^2, S = sum x, var = Q/K - (S/K)^2, and note that

    K var     = min over m of  Q - 2 m S + K m^2          (at m = S/K)
    1/(1 + NSD^2) = S^2 / (K Q) = max over m of  (2 m S - Q) / (K m^2)    (at m = Q/S)

Smallest: both orders of "over x, over m" agree, and for fixed m the best x is m clipped into the box, at the distance
D(m) = sum dist(m, [low, high])^2. So K var = min D(m) and NSD^2 / (1 + NSD^2) = min D(m) / (K m^2).

Largest: variance is convex and NSD quasi-convex, so the maximum lies at a corner: each class at one of its limits. Up
to ten classes all 2^K corners are tried. Beyond, exchanging the order of min and max gives a bound from above, in which
class c is at `high` where its middle lies above m and at `low` otherwise: K + 1 corners after sorting by middles. The
bound is the exact maximum where its m lies strictly between two middles, and is otherwise too large by a part of one
class's width: never too small.

Apart from the tried corners, the function of m is piecewise smooth with one stationary point per piece, so the optimum
is the best over pieces of that point, moved into its piece. Shape key: K classes, ... any number of boxes.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt

from fairbench.metrics.classwise import Floats, classes_in_share

_ALL_CORNERS = 10


def worst_share_range(box: Floats, share: float) -> Floats:
    """Return the range of the mean over the ceil(share * K) lowest: it grows with every accuracy."""
    kept = classes_in_share(box.shape[-2], share)
    result: Floats = np.sort(box, axis=-2)[..., :kept, :].mean(axis=-2)
    return result


def gap_range(box: Floats) -> Floats:
    """Return the range of highest minus lowest class accuracy."""
    low, high = box[..., 0], box[..., 1]
    smallest = np.maximum(low.max(axis=-1) - high.min(axis=-1), 0.0)
    if box.shape[-2] == 1:
        return np.stack([smallest, smallest], axis=-1)
    # The highest and the lowest class are two classes: best `high` of another class, minus each class's `low`.
    order = np.sort(high, axis=-1)
    first, second = order[..., -1:], order[..., -2:-1]
    at_first = np.arange(high.shape[-1]) == high.argmax(axis=-1)[..., None]
    largest = (np.where(at_first, second, first) - low).max(axis=-1)
    return np.stack([smallest, np.maximum(largest, 0.0)], axis=-1)


def std_range(box: Floats) -> Floats:
    """Return the range of the population standard deviation over classes (above ten classes, the end may be larger)."""
    num = box.shape[-2]
    left, right, inside, total, squares = _pieces_of_distance(box)
    with np.errstate(divide="ignore", invalid="ignore"):
        m = np.clip(np.where(inside > 0, total / inside, left), left, right)
    smallest = np.where(_may_tie(box), 0.0, (inside * m * m - 2 * m * total + squares).min(axis=-1))

    if num <= _ALL_CORNERS:
        total, squares = _corners(box)
        largest = (squares - total * total / num).max(axis=-1)
    else:
        left, right, total, squares = _pieces_of_corners(box)
        m = np.clip(total / num, left, right)
        largest = (num * m * m - 2 * m * total + squares).min(axis=-1)
    ends: Floats = np.sqrt(np.maximum(np.stack([smallest, largest], axis=-1), 0.0) / num)
    return ends


def normalized_std_range(box: Floats) -> Floats:
    """Return the range of std / mean over classes, within [0, sqrt(K - 1)] (above ten classes, it may be larger)."""
    num = box.shape[-2]
    with np.errstate(divide="ignore", invalid="ignore"):
        left, right, inside, total, squares = _pieces_of_distance(box)
        m = np.clip(np.where(total > 0, squares / total, left), left, right)
        share = np.where(m > 0, (inside * m * m - 2 * m * total + squares) / (num * m * m), np.inf)
        smallest = np.where(_may_tie(box), 0.0, np.maximum(share.min(axis=-1), 0.0))

        if num <= _ALL_CORNERS:
            total, squares = _corners(box)
            inverse = np.where(total > 0, total * total / (num * squares), 1.0).min(axis=-1)
        else:
            left, right, total, squares = _pieces_of_corners(box)
            m = np.clip(np.where(total > 0, squares / total, 0.0), left, right)
            inverse = np.where(m > 0, (2 * m * total - squares) / (num * m * m), -np.inf).max(axis=-1)
        # 1 + NSD^2 is at most K for accuracies that are not negative.
        largest = np.maximum(1 / np.maximum(inverse, 1 / num) - 1, 0.0)
        ends: Floats = np.sqrt(np.stack([np.minimum(smallest / (1 - smallest), largest), largest], axis=-1))
    return ends


def _may_tie(box: Floats) -> npt.NDArray[np.bool_]:
    """Return (...) where one value fits all classes: the spread may be 0, exactly and not up to rounding."""
    fits: npt.NDArray[np.bool_] = box[..., 0].max(axis=-1) <= box[..., 1].min(axis=-1)
    return fits


def _pieces_of_distance(box: Floats) -> tuple[Floats, Floats, Floats, Floats, Floats]:
    """Return, for the 2 K + 1 pieces of D(m) on [0, 1], (..., 2 K + 1) each: ends, and the classes whose interval does
    not hold m: their number, the sum of their nearest limits, and the sum of those squared.
    """
    low, high = box[..., 0], box[..., 1]
    ends = np.concatenate([high, low], axis=-1)
    order = np.argsort(ends, axis=-1, kind="stable")
    ends = np.take_along_axis(ends, order, axis=-1)
    # Left of everything each class is below its `low`: it counts with `low`. Passing `low` it leaves, passing `high`
    # it comes back with `high`.
    sign = np.where(order < low.shape[-1], 1.0, -1.0)
    zero, one = np.zeros_like(ends[..., :1]), np.ones_like(ends[..., :1])
    inside = low.shape[-1] + np.concatenate([zero, np.cumsum(sign, axis=-1)], axis=-1)
    total = low.sum(axis=-1)[..., None] + np.concatenate([zero, np.cumsum(sign * ends, axis=-1)], axis=-1)
    squares = (low**2).sum(axis=-1)[..., None] + np.concatenate([zero, np.cumsum(sign * ends**2, axis=-1)], axis=-1)
    left, right = np.concatenate([zero, ends], axis=-1), np.concatenate([ends, one], axis=-1)
    return left, right, inside, total, squares


def _corners(box: Floats) -> tuple[Floats, Floats]:
    """Return the sum and the sum of squares at each corner, (..., 2^K)."""
    at_low, at_high = _sides(box.shape[-2])
    low, high = box[..., 0], box[..., 1]
    return _each(low, at_low) + _each(high, at_high), _each(low**2, at_low) + _each(high**2, at_high)


@cache
def _sides(num: int) -> tuple[Floats, Floats]:
    """Return (K, 2^K) which classes are at `low` in each corner, and which are at `high`, as 0 and 1."""
    at_high = (np.arange(2**num) >> np.arange(num)[:, None]) & 1
    return (1 - at_high).astype(np.float64), at_high.astype(np.float64)


def _each(limits: Floats, side: Floats) -> Floats:
    """Return `limits @ side`, one box at a time: products of several are rounded otherwise than of one."""
    products: Floats = np.stack([row @ side for row in limits.reshape(-1, limits.shape[-1])])
    return products.reshape(*limits.shape[:-1], side.shape[1])


def _pieces_of_corners(box: Floats) -> tuple[Floats, Floats, Floats, Floats]:
    """Return, for the K + 1 corners with the classes of the larger middles at `high`, (..., K + 1) each: the middles
    between which the corner counts, and the corner's sum and sum of squares.
    """
    order = np.argsort(box.sum(axis=-1), axis=-1, kind="stable")
    low, high = (np.take_along_axis(box[..., side], order, axis=-1) for side in (0, 1))
    zero, one = np.zeros_like(low[..., :1]), np.ones_like(low[..., :1])

    def corners(at_low: Floats, at_high: Floats) -> Floats:
        below = np.concatenate([zero, np.cumsum(at_low, axis=-1)], axis=-1)
        above = np.concatenate([zero, np.cumsum(at_high[..., ::-1], axis=-1)], axis=-1)[..., ::-1]
        result: Floats = below + above
        return result

    middle = (low + high) / 2
    left, right = np.concatenate([zero, middle], axis=-1), np.concatenate([middle, one], axis=-1)
    return left, right, corners(low, high), corners(low**2, high**2)
