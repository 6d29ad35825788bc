"""How low the worst class is: intervals for the worst class and the worst share, and who the worst class is.

The minimum of several accuracies is not regular where classes tie, and the bootstrap fails there; limits of the single
classes, combined, do not. Functions take (..., K) hits and (K,) counts and leave absent classes out.

Shape key: K classes, ... any number of simulated tables.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt
from scipy import special

from fairbench.errors import BadInput
from fairbench.metrics.binomial import exact_lower, exact_upper, present_counts, simultaneous_box
from fairbench.metrics.box import worst_share_range
from fairbench.metrics.classwise import Floats, classes_in_share

_NODES = 400


def worst_class_interval(hits: npt.ArrayLike, count: npt.ArrayLike, *, confidence: float = 0.95) -> Floats:
    """Return (..., 2) limits of the true accuracy of the truly worst class.

    Lower: the least one-sided 97.5 % lower limit, unadjusted. It is at most the limit of the truly worst class, which
    is one fixed class, so it is too high with probability at most 2.5 %. Upper: the least one-sided upper limit at
    level .975^(1/K). It is too low only if some class's upper limit is below that class's own accuracy: 2.5 % over all.

    Raises:
        BadInput: counts that are no counts.
    """
    return worst_class_interval_within(hits, hits, count, confidence=confidence)


def worst_class_interval_within(
    least: npt.ArrayLike, most: npt.ArrayLike, count: npt.ArrayLike, *, confidence: float = 0.95
) -> Floats:
    """Return (..., 2) limits that hold those of `worst_class_interval` for all hits from `least` to `most`.

    Both limits grow with every class's hits.

    Args:
        least: (..., K) hits at least.
        most: (..., K) hits at most.
        count: (K,) samples.
        confidence: of the interval, were the hits known.

    Raises:
        BadInput: counts that are no counts.
    """
    (k, n), (top, _) = present_counts(least, count), present_counts(most, count)
    if not n.size:
        return np.full((*k.shape[:-1], 2), np.nan)
    error = (1 - confidence) / 2
    # 1 - (1 - error)^(1/K), without the rounding of powers close to 1.
    shared = float(-np.expm1(np.log1p(-error) / n.size))
    low, high = exact_lower(k, n, error=error), exact_upper(top, n, error=shared)
    return np.stack([low.min(axis=-1), high.min(axis=-1)], axis=-1)


def worst_share_interval(
    hits: npt.ArrayLike, count: npt.ArrayLike, share: float, *, confidence: float = 0.95
) -> Floats:
    """Return (..., 2) limits of the mean over the ceil(share * K) lowest accuracies.

    The range over the simultaneous box of exact limits; where the share is one class, the worst-class interval.

    Raises:
        BadInput: counts that are no counts, or a share outside (0, 1].
    """
    k, n = present_counts(hits, count)
    if not n.size or classes_in_share(n.size, share) == 1:
        return worst_class_interval(k, n, confidence=confidence)
    return worst_share_range(simultaneous_box(k, n, confidence=confidence), share)


def probability_worst(hits: npt.ArrayLike, count: npt.ArrayLike, index: int) -> float:
    """Return the posterior probability that class `index` has the lowest true accuracy.

    Independent Jeffreys posteriors Beta(hits + 1/2, errors + 1/2); the probability that one draw is below all others is
    the mean, over quantiles u of the class, of the product over other classes of P(draw > the quantile). It is
    integrated (Gauss-Legendre in u), not simulated: no seed, and no noise of its own.

    Args:
        hits: (K,) robust samples.
        count: (K,) samples.
        index: the class asked about.

    Raises:
        BadInput: counts that are no counts, or a class that is absent.
    """
    k, n = np.asarray(hits), np.asarray(count)
    if k.ndim != 1 or not 0 <= index < k.size or n[index] <= 0:
        raise BadInput(f"class {index} has no samples, so nothing can be said about it being the worst.")
    others = (np.arange(k.size) != index) & (n > 0)
    node, weight = _gauss_legendre()
    quantile = special.betaincinv(k[index] + 0.5, n[index] - k[index] + 0.5, (node + 1) / 2)
    # Classes with equal counts have equal posteriors: with 1,000 classes of 50 images only 51 differ.
    pairs, times = np.unique(np.stack([k[others], n[others]], axis=1), axis=0, return_counts=True)
    above = special.betaincc(pairs[:, :1] + 0.5, pairs[:, 1:] - pairs[:, :1] + 0.5, quantile)
    return float((weight / 2 * np.prod(above ** times[:, None], axis=0)).sum())


@cache
def _gauss_legendre() -> tuple[Floats, Floats]:
    node, weight = np.polynomial.legendre.leggauss(_NODES)
    return node, weight
