"""How low the worst class is: intervals for the worst class and the worst share, and who the worst class is.

The minimum of several accuracies is not regular where classes tie, and the bootstrap fails there; limits of the single
classes, combined, do not. Functions take (..., K) hits and (K,) counts and leave absent classes out.

Shape key: K classes, ... any number of simulated tables.
"""

from __future__ import annotations

from functools import cache, lru_cache

import numpy as np
import numpy.typing as npt
from scipy import special

from fairbench.errors import BadInput
from fairbench.metrics.binomial import exact_lower, exact_upper, present_counts, sidak, simultaneous_box
from fairbench.metrics.box import worst_share_range
from fairbench.metrics.classwise import Floats, classes_in_share

_NODES = 400


def worst_class_interval(hits: npt.ArrayLike, count: npt.ArrayLike, *, confidence: float = 0.95) -> Floats:
    """Return (..., 2) limits of the true accuracy of the truly worst class.

    Upper: the least upper limit of the simultaneous exact box, at the one-sided error e = (1 - .95^(1/K)) / 2. It is
    too low only if some class's upper limit is below that class's own accuracy: u = 1 - (1 - e)^K over independent
    classes, 2.50 % for one class and 2.53 % for very many. Lower: the least one-sided lower limit at the error .05 - u,
    unadjusted. It is at most the limit of the truly worst class, which is one fixed class, so it is too high with
    probability at most .05 - u. Both together: 5 %. As .05 - u is at least e, the interval lies within the box's range
    of the worst class for every table.

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
    each = (1 - sidak(confidence, n.size)) / 2
    # 1 - (1 - each)^K, without the rounding of powers close to 1.
    above = float(-np.expm1(n.size * np.log1p(-each)))
    low, high = exact_lower(k, n, error=1 - confidence - above), exact_upper(top, n, error=each)
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
    _, weight = _gauss_legendre()
    # Classes with equal counts have equal posteriors: with 1,000 classes of 50 images only 51 differ.
    pairs, times = np.unique(np.stack([k[others], n[others]], axis=1), axis=0, return_counts=True)
    own = int(k[index]), int(n[index])
    found = [(_above(*own, *pair), often) for pair, often in zip(pairs.tolist(), times.tolist(), strict=True)]
    near = [(row, often) for row, often in found if row is not None]
    above, powers = np.array([row for row, _ in near]).reshape(-1, _NODES), np.array([often for _, often in near])
    return float((weight / 2 * np.prod(above ** powers[:, None], axis=0)).sum())


@lru_cache(maxsize=64)
def _quantiles(hits: int, count: int) -> Floats:
    """Return (nodes,) quantiles of a class's posterior."""
    node, _ = _gauss_legendre()
    found: Floats = special.betaincinv(hits + 0.5, count - hits + 0.5, (node + 1) / 2)
    return found


@lru_cache(maxsize=4096)
def _above(hits: int, count: int, other_hits: int, other_count: int) -> Floats | None:
    """Return (nodes,) P(a draw of another class > the quantile); None where it is 1 at each, as for most classes.

    Attacks and runs on the same images ask for the same few pairs again and again.
    """
    quantile, a, b = _quantiles(hits, count), other_hits + 0.5, other_count - other_hits + 0.5
    # One that is 1 at the highest quantile is so at all.
    if special.betaincc(a, b, quantile.max()) == 1:
        return None
    found: Floats = special.betaincc(a, b, quantile)
    return found


@cache
def _gauss_legendre() -> tuple[Floats, Floats]:
    node, weight = np.polynomial.legendre.leggauss(_NODES)
    return node, weight
