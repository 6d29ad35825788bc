"""How far the class accuracies are apart: intervals for gap, standard deviation and normalized standard deviation.

Where all counts are equal and each class has at least 5 hits and 5 errors, std and NSD come from inverting a test
along p(s) = average + s (accuracy - average): the observed classes, pulled together (s < 1; all equal at s = 0) or
apart. Under p(s) each class has its own variance v_c = p_c(s) (1 - p_c(s)) / n, and with d = p(s) - average the
cumulants of T = sum (accuracy - its average)^2, a quadratic form of a normal vector with independent parts, are

    k_1 = (1 - 1/K) sum v + sum d^2
    k_2 = 2 tr(MV)^2 + 4 sum v d^2,                            tr(MV)^2 = (1 - 2/K) sum v^2 + (sum v)^2 / K^2
    k_3 = 8 tr(MV)^3 + 24 [sum v^2 d^2 - (sum v d)^2 / K],     tr(MV)^3 = (1 - 3/K) sum v^3
                                                                   + 3 sum v sum v^2 / K^2 - (sum v)^3 / K^3

with M taking away the mean and V = diag(v). A shifted gamma distribution with these three moments stands for T
(Pearson, Biometrika 1959; with two moments only, the upper limit is too low for few classes). The interval holds every
s that a two-sided 5 % test does not reject. NSD tests T / average^2, whose linear part is d - (sum d^2 / K) / average
in place of d in the noise terms: errors of the average move it too.

Elsewhere: the range over the simultaneous box of exact limits, valid whatever ties and however few errors. The same
limit stands in where the test has nothing to invert: classes that look more equal than equal classes would.

The observed std is too large on average, as noise adds to the spread, so the inverted interval may end below it. It is
then extended to the observed value: it covers no less, and a printed value never lies outside its own interval.

Functions take (..., K) hits and (K,) counts and leave absent classes out. Shape key: K classes, ... simulated tables.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from scipy import special

from fairbench.metrics.binomial import present_counts, simultaneous_box
from fairbench.metrics.box import gap_range, normalized_std_range, std_range
from fairbench.metrics.classwise import Floats, Ints

_FEWEST = 5
_HALVINGS = 48


def gap_interval(hits: npt.ArrayLike, count: npt.ArrayLike, *, confidence: float = 0.95) -> Floats:
    """Return (..., 2) limits of highest minus lowest class accuracy: the range over the simultaneous box."""
    k, n = present_counts(hits, count)
    if not n.size:
        return np.full((*k.shape[:-1], 2), np.nan)
    return gap_range(simultaneous_box(k, n, confidence=confidence))


def std_interval(hits: npt.ArrayLike, count: npt.ArrayLike, *, confidence: float = 0.95) -> Floats:
    """Return (..., 2) limits of the population standard deviation over classes; the lower one may be 0."""
    return _interval(hits, count, confidence, std_range, relative=False)


def normalized_std_interval(hits: npt.ArrayLike, count: npt.ArrayLike, *, confidence: float = 0.95) -> Floats:
    """Return (..., 2) limits of std / mean over classes, within [0, sqrt(K - 1)]; the lower one may be 0."""
    return _interval(hits, count, confidence, normalized_std_range, relative=True)


def regular(hits: Ints, count: Ints) -> npt.NDArray[np.bool_]:
    """Return (...) where the test may be inverted: equal counts, at least 5 hits and 5 errors in every class."""
    if count.size < 2 or count.min() != count.max():
        return np.zeros(hits.shape[:-1], dtype=bool)
    enough: npt.NDArray[np.bool_] = (np.minimum(hits, count - hits) >= _FEWEST).all(axis=-1)
    return enough


def cumulants(accuracy: Floats, count: int, scale: Floats, *, relative: bool) -> tuple[Floats, Floats, Floats]:
    """Return k_1, k_2 and k_3 of T under p(scale), (...) each, from (..., K) accuracies and (...) scales."""
    num = accuracy.shape[-1]
    v, linear, total = parts(accuracy, count, scale, relative=relative)
    first, second, third = (np.sum(v**power, axis=-1) for power in (1, 2, 3))
    moved = v * linear
    pairs = (1 - 2 / num) * second + first**2 / num**2
    triples = (1 - 3 / num) * third + 3 * first * second / num**2 - first**3 / num**3
    bent = (moved * moved).sum(axis=-1) - moved.sum(axis=-1) ** 2 / num
    return (1 - 1 / num) * first + total, 2 * pairs + 4 * (moved * linear).sum(axis=-1), 8 * triples + 24 * bent


def parts(accuracy: Floats, count: int, scale: Floats, *, relative: bool) -> tuple[Floats, Floats, Floats]:
    """Return (..., K) class variances and linear part, and (...) sum d^2, under p(scale)."""
    average = accuracy.mean(axis=-1, keepdims=True)
    d = scale[..., None] * (accuracy - average)
    p = average + d
    total = (d * d).sum(axis=-1)
    linear = d - (total / accuracy.shape[-1])[..., None] / average if relative else d
    return p * (1 - p) / count, linear, total


def scales(accuracy: Floats, count: int, confidence: float, *, relative: bool) -> tuple[Floats, Floats]:
    """Return the lowest and highest scale s that the test at `confidence` keeps, (...) each.

    The upper one is NaN where s = 0 is rejected already (more equal than equal classes), or where the test rejects
    no s that leaves every class within [0, 1].
    """
    d = accuracy - accuracy.mean(axis=-1, keepdims=True)
    observed, error = (d * d).sum(axis=-1), (1 - confidence) / 2

    def below(scale: Floats) -> Floats:
        mean, variance, third = cumulants(accuracy, count, scale, relative=relative)
        # Shape, scale and shift of the gamma distribution with these cumulants.
        above_shift = observed - mean + 2 * variance**2 / third
        result: Floats = special.gammainc(
            4 * variance**3 / third**2, np.maximum(above_shift, 0.0) * 2 * variance / third
        )
        return result

    nothing, one = np.zeros_like(observed), np.ones_like(observed)
    with np.errstate(divide="ignore", invalid="ignore"):
        room = np.where(d > 0, (1 - accuracy + d) / d, np.where(d < 0, (accuracy - d) / -d, np.inf)).min(axis=-1)
    # Just inside: where every class sits at 0 or 1, nothing varies.
    furthest = np.where(np.isfinite(room), room, 1.0) * (1 - 1e-9)
    # P(T < observed) falls as the classes move apart. Both limits are found in one search.
    low, high = _crossing(
        below, np.stack([nothing, nothing]), np.stack([one, furthest]),
        np.reshape([1 - error, error], (2, *[1] * observed.ndim)),
    )  # fmt: skip
    unknown = (observed == 0) | (below(nothing) <= error) | (below(furthest) > error)
    return low, np.where(unknown, np.nan, high)


def _crossing(falling: Callable[[Floats], Floats], left: Floats, right: Floats, level: Floats) -> Floats:
    """Return where a falling function passes `level`, by halving; `left` where it starts below."""
    start_below = falling(left) <= level
    low, high = left, right
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        above = falling(middle) > level
        low, high = np.where(above, middle, low), np.where(above, high, middle)
    return np.where(start_below, left, (low + high) / 2)


def _interval(
    hits: npt.ArrayLike, count: npt.ArrayLike, confidence: float, widest: Callable[[Floats], Floats], *, relative: bool
) -> Floats:
    k, n = present_counts(hits, count)
    if not n.size:
        return np.full((*k.shape[:-1], 2), np.nan)
    result = widest(simultaneous_box(k, n, confidence=confidence))
    use = regular(k, n)
    if use.any():
        accuracy = k[use] / n
        estimate = accuracy.std(axis=-1)
        if relative:
            estimate = estimate / accuracy.mean(axis=-1)
        low, high = scales(accuracy, int(n[0]), confidence, relative=relative)
        upper = np.where(np.isnan(high), result[use][..., 1], np.maximum(high, 1.0) * estimate)
        result[use] = np.stack([low * estimate, upper], axis=-1)
    return result
