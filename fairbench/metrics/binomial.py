"""Confidence limits of one proportion, and of many at once.

All functions take counts of any shape (..., K) and work element by element. A count of 0 gives NaN.

Shape key: K classes, ... any number of simulated tables.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from scipy import special

from fairbench.errors import BadInput
from fairbench.metrics.classwise import Floats, Ints


def wilson(hits: npt.ArrayLike, count: npt.ArrayLike, *, confidence: float = 0.95) -> Floats:
    """Return (..., 2) Wilson score limits of hits / count. Source: Wilson, JASA 1927.

    Covers about `confidence` averaged over p; below it for some single p, above all within 1 / count of 0 and 1.

    Raises:
        BadInput: counts that are no counts, or a confidence outside (0, 1).
    """
    k, n = _counts(hits, count)
    z = special.ndtri(0.5 + 0.5 * _level(confidence))
    with np.errstate(divide="ignore", invalid="ignore"):
        p, correction = k / n, z * z / n
        middle = p + correction / 2
        half = z * np.sqrt(p * (1 - p) / n + correction / (4 * n))
        low, high = (middle - half) / (1 + correction), (middle + half) / (1 + correction)
    # In exact arithmetic the limits are 0 and 1 here, and p lies between them; rounding must not say otherwise.
    low = np.where(k == 0, np.where(n > 0, 0.0, np.nan), np.minimum(low, p))
    high = np.where(k == n, np.where(n > 0, 1.0, np.nan), np.maximum(high, p))
    return np.stack([low, high], axis=-1)


def exact_lower(hits: npt.ArrayLike, count: npt.ArrayLike, *, error: float) -> Floats:
    """Return the one-sided exact (Clopper-Pearson) lower limit, wrong with probability at most `error`."""
    return _for_each_pair(lambda k, n: special.betaincinv(k, n - k + 1, error), hits, count, at_none=0.0)


def exact_upper(hits: npt.ArrayLike, count: npt.ArrayLike, *, error: float) -> Floats:
    """Return the one-sided exact (Clopper-Pearson) upper limit, wrong with probability at most `error`."""
    k, n = _counts(hits, count)
    # It is 1 minus the lower limit of the errors n - k; the complement's inverse gives it without losing digits near 0.
    return _for_each_pair(lambda a, b: special.betainccinv(b - a + 1, a, error), n - k, n, at_none=1.0)


def clopper_pearson(hits: npt.ArrayLike, count: npt.ArrayLike, *, confidence: float = 0.95) -> Floats:
    """Return (..., 2) exact two-sided limits of hits / count. Source: Clopper and Pearson, Biometrika 1934."""
    error = (1 - _level(confidence)) / 2
    return np.stack([exact_lower(hits, count, error=error), exact_upper(hits, count, error=error)], axis=-1)


def sidak(confidence: float, num_classes: int) -> float:
    """Return the level each of K independent intervals needs so that all hold together: confidence ** (1 / K)."""
    return float(_level(confidence) ** (1 / num_classes))


def simultaneous_box(hits: npt.ArrayLike, count: npt.ArrayLike, *, confidence: float = 0.95) -> Floats:
    """Return (..., K, 2) exact limits that hold for all classes together; absent classes (NaN) do not count.

    Classes have different images, so their accuracies are independent and Sidak's level is exact.
    """
    k, n = _counts(hits, count)
    present = int((n > 0).sum(axis=-1).max())
    return clopper_pearson(k, n, confidence=sidak(confidence, max(present, 1)))


def present_counts(hits: npt.ArrayLike, count: npt.ArrayLike) -> tuple[Ints, Ints]:
    """Return (..., K') hits and (K',) counts of the classes that have samples.

    Raises:
        BadInput: counts that are no counts, or that differ between tables.
    """
    n = np.asarray(count)
    if n.ndim != 1:
        raise BadInput(f"class counts must be a list of K numbers, but have the shape {n.shape}.")
    k, _ = _counts(hits, n)
    seen = n > 0
    return k[..., seen], n[seen].astype(np.int64)


def binomial_cdf(hits: npt.ArrayLike, count: int, p: float) -> Floats:
    """Return P(X <= hits), of the shape of `hits` (0 .. count), for X ~ Binomial(count, p).

    As scipy.stats.binom, whose import alone would take longer than everything else that a small report computes.
    """
    k = np.asarray(hits, dtype=np.float64)
    chances: Floats = np.where(k < count, special.betaincc(k + 1, np.maximum(count - k, 1), p), 1.0)
    return chances


def binomial_quantile(level: float, count: int, p: float) -> int:
    """Return the least number of hits with P(X <= hits) >= level, for X ~ Binomial(count, p)."""
    near = 0 if p == 0 else count if p == 1 else int(np.clip(special.bdtrik(level, count, p), 0, count))
    # The inverse of the continuous function, which rounds, is at most one off.
    candidates = np.arange(max(near - 1, 0), min(near + 2, count) + 1)
    reached = binomial_cdf(candidates, count, p) >= level
    return int(candidates[reached.argmax()] if reached.any() else count)


def _level(confidence: float) -> float:
    if not 0 < confidence < 1:
        raise BadInput(f"a confidence must lie between 0 and 1, such as 0.95, but is {confidence}.")
    return confidence


def _counts(hits: npt.ArrayLike, count: npt.ArrayLike) -> tuple[Ints, Ints]:
    k, n = np.broadcast_arrays(np.asarray(hits), np.asarray(count))
    if k.dtype.kind not in "iub" or n.dtype.kind not in "iub" or (k < 0).any() or (k > n).any():
        raise BadInput("an interval needs whole numbers 0 <= hits <= count for each class, but got others.")
    return k.astype(np.int64), n.astype(np.int64)


def _for_each_pair(
    limit: Callable[[Floats, Floats], npt.ArrayLike], hits: npt.ArrayLike, count: npt.ArrayLike, *, at_none: float
) -> Floats:
    """Apply `limit` once to each distinct (hits, count): simulations repeat few pairs very often."""
    k, n = _counts(hits, count)
    width = int(n.max(initial=0)) + 1
    pairs, place = np.unique(n * width + k, return_inverse=True)
    top, bottom = (pairs % width).astype(np.float64), (pairs // width).astype(np.float64)
    found = np.where(bottom > 0, at_none, np.nan)
    inner = top > 0
    found[inner] = limit(top[inner], bottom[inner])
    result: Floats = found[place].reshape(k.shape)
    return result
