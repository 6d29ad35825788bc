"""Do two rankings of the classes agree? Kendall's tau, with two kinds of uncertainty kept apart.

- `order_agreement`: two rankings of *these* classes by accuracy (two attacks, two models). What is uncertain is each
  accuracy, because the images are a sample.
- `correlation`: two quantities of each class (robustness and a weight's norm). What is uncertain is the rule that links
  them, because K classes are only K points.

Bootstraps of the images do not cover here: with ten classes within 4 points of one another and 90 or 1,000 images each,
95 % limits from posterior draws of the accuracies held the true tau in 2 to 81 % of simulated tables, since noise in
the images always pulls tau towards 0 (benchmarks/rank_bootstrap.py).

Shape key: K classes, P = K (K - 1) / 2 pairs of classes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from scipy import special

from fairbench.errors import BadInput
from fairbench.metrics.binomial import clopper_pearson, sidak
from fairbench.metrics.classwise import Floats, accuracy_of

#: Below this number of classes the interval of a correlation is not defined.
LEAST = 5
_FEW, _PERMUTATIONS, _SEED = 33, 4_999, 20210526


@dataclass(frozen=True)
class Agreement:
    """How far two rankings of the same classes agree.

    Attributes:
        tau: Kendall's tau-b of the observed accuracies; NaN where one of them does not vary.
        low: 95 % limit: pairs that are not decided count as opposite.
        high: 95 % limit: pairs that are not decided count as same.
        same: pairs of classes that stand in the same order in both rankings for sure.
        opposite: pairs that stand in opposite order for sure.
        undecided: all other pairs.
    """

    tau: float
    low: float
    high: float
    same: int
    opposite: int
    undecided: int

    @property
    def pairs(self) -> int:
        """The number of pairs of classes."""
        return self.same + self.opposite + self.undecided


@dataclass(frozen=True)
class Correlation:
    """A rank correlation over K classes as K points; NaN where it is undefined.

    Attributes:
        tau: Kendall's tau-b.
        low: 95 % limit.
        high: 95 % limit.
        p: two-sided p-value of "no relation"; see `kendall`.
        points: K, the classes that have both quantities.
    """

    tau: float
    low: float
    high: float
    p: float
    points: int

    @property
    def decided(self) -> bool:
        """True where the interval leaves out 0, and with it the test of "no relation"."""
        return self.low > 0 or self.high < 0


def kendall(a: npt.ArrayLike, b: npt.ArrayLike) -> tuple[float, float]:
    """Return Kendall's tau-b and its two-sided p-value; NaN where either does not vary. Undefined entries are left out.

    p is exact for up to 33 points without ties, from 4,999 permutations (fixed seed) for as many with ties, and that of
    the normal limit for more.

    Raises:
        BadInput: two lists of different length.
    """
    x, y = _both(a, b)
    if x.size < 2 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return math.nan, math.nan
    i, j = np.triu_indices(x.size, 1)
    first, second = np.sign(x[i] - x[j]), np.sign(y[i] - y[j])
    score, untied = float(first @ second), (np.abs(first).sum(), np.abs(second).sum())
    if x.size > _FEW:
        p = float(2 * special.ndtr(-abs(score) / math.sqrt(_variance(x, y))))
    else:
        p = _exact_p(score, x.size) if min(untied) == i.size else _permutation_p(x, y)
    # A perfect order is 1, and not 1 minus a rounding.
    return round(score / math.sqrt(untied[0] * untied[1]), 12), min(p, 1.0)


def correlation(a: npt.ArrayLike, b: npt.ArrayLike, *, confidence: float = 0.95) -> Correlation:
    """Return the rank correlation of two (K,) quantities, with limits for K points drawn from a common rule.

    z = atanh(tau) has about the variance 0.437 / (K - 4) (Fieller, Hartley and Pearson, Biometrika 1957), times what
    ties add to the variance of tau-b where nothing is related. A tau of exactly +-1 is taken half a step inside for the
    limits. They are widened to hold 0 where the test of "no relation" does not reject: one class apart from nine that
    tie is the same order in one of ten permutations, whatever tau says. Undefined with fewer than 5 classes.

    Raises:
        BadInput: two lists of different length.
    """
    x, y = _both(a, b)
    points = x.size
    tau, p = kendall(x, y)
    if points < LEAST or math.isnan(tau):
        return Correlation(tau, math.nan, math.nan, p, points)
    edge = 1 - 2 / (points * (points - 1))
    half = float(special.ndtri(0.5 + 0.5 * confidence)) * math.sqrt(0.437 / (points - 4)) * _tied(x, y)
    middle = math.atanh(min(max(tau, -edge), edge))
    low, high = min(math.tanh(middle - half), tau), max(math.tanh(middle + half), tau)
    if p >= 1 - confidence:
        low, high = min(low, 0.0), max(high, 0.0)
    return Correlation(tau, low, high, p, points)


def order_agreement(
    hits_a: npt.ArrayLike, count_a: npt.ArrayLike, hits_b: npt.ArrayLike, count_b: npt.ArrayLike,
    *, confidence: float = 0.95,
) -> Agreement:  # fmt: skip
    """Return how far the true accuracies of two tables rank the same K classes alike, from (K,) hits and counts.

    All 2 K exact limits hold together (Bonferroni over the two tables, which may share their images; Sidak within
    each). Two classes whose limits do not overlap stand in a known order; two known orders make a pair same or
    opposite, and every other pair may be either. So the limits hold with 95 % whatever ties. Classes that are absent
    from a table are left out.

    Raises:
        BadInput: tables of different numbers of classes, or counts that are no counts.
    """
    k_a, n_a, k_b, n_b = (np.asarray(values) for values in (hits_a, count_a, hits_b, count_b))
    if not k_a.shape == n_a.shape == k_b.shape == n_b.shape or k_a.ndim != 1:
        raise BadInput(f"two rankings need the same classes, but have {k_a.shape} and {k_b.shape}.")
    seen = (n_a > 0) & (n_b > 0)
    k_a, n_a, k_b, n_b = k_a[seen], n_a[seen], k_b[seen], n_b[seen]
    tau, _ = kendall(accuracy_of(k_a, n_a), accuracy_of(k_b, n_b))
    level = sidak(1 - (1 - confidence) / 2, max(k_a.size, 1))
    first, second = (_orders(clopper_pearson(k, n, confidence=level)) for k, n in ((k_a, n_a), (k_b, n_b)))
    product = first * second
    same, opposite = int((product > 0).sum()), int((product < 0).sum())
    pairs = product.size
    if not pairs:
        return Agreement(math.nan, math.nan, math.nan, 0, 0, 0)
    undecided = pairs - same - opposite
    low, high = (same - opposite - undecided) / pairs, (same - opposite + undecided) / pairs
    return Agreement(tau, low, high, same, opposite, undecided)


def _exact_p(score: float, n: int) -> float:
    """Return the share of the n! orders without ties that are at least as far from 0 as `score`, an S of Kendall's.

    An order with d inversions has S = n (n - 1) / 2 - 2 d. Each further point adds 0, 1, ... or all inversions with
    those before it, equally often.
    """
    share = np.ones(1)
    for points in range(2, n + 1):
        share = np.convolve(share, np.full(points, 1 / points))
    fewest = round((share.size - 1 - abs(score)) / 2)
    return float(2 * share[: fewest + 1].sum())


def _permutation_p(x: Floats, y: Floats) -> float:
    """Return the share of orders of one side with at least this |tau| (all have the same ties: only the sum varies).

    Which side is permuted, and from which order, follows from the values alone: neither the order of the classes nor
    which quantity is named first may move p.
    """
    pairs = np.array(min(sorted(zip(x, y, strict=True)), sorted(zip(y, x, strict=True))))
    i, j = np.triu_indices(len(pairs), 1)
    orders = pairs[:, 1][_permutations(len(pairs))]
    sums = np.abs(np.sign(orders[:, i] - orders[:, j]) @ np.sign(pairs[i, 0] - pairs[j, 0]))
    return float((sums >= sums[0]).mean())


@lru_cache(maxsize=8)
def _permutations(n: int) -> npt.NDArray[np.int64]:
    """Return the order as it is and the permutations of n places, (1 + 4,999, n); the same for all values."""
    rng = np.random.Generator(np.random.PCG64(_SEED))
    places = np.tile(np.arange(n), (1 + _PERMUTATIONS, 1))
    rng.permuted(places[1:], axis=1, out=places[1:])
    places.setflags(write=False)
    return places


def _variance(x: Floats, y: Floats) -> float:
    """Return the variance of Kendall's S where nothing is related.

    Kendall, Rank correlation methods, 1970, chapter 4: with t the sizes of the ties of x and u those of y,
    var(S) = (v_0 - v_t - v_u) / 18 + v_1 + v_2.
    """
    n = x.size
    pairs = n * (n - 1)
    sizes = [np.unique(values, return_counts=True)[1].astype(np.float64) for values in (x, y)]
    three = [float((t * (t - 1) * (t - 2)).sum()) for t in sizes]
    spread = [float((t * (t - 1) * (2 * t + 5)).sum()) for t in sizes]
    two = _tied_pairs(x) * _tied_pairs(y)
    return (
        (pairs * (2 * n + 5) - sum(spread)) / 18 + 2 * two / pairs + three[0] * three[1] / (9 * pairs * max(n - 2, 1))
    )


def _tied_pairs(values: Floats) -> float:
    times = np.unique(values, return_counts=True)[1].astype(np.float64)
    return float((times * (times - 1) / 2).sum())


def _tied(x: Floats, y: Floats) -> float:
    """Return the standard error of tau-b without a relation, over that of as many points without ties.

    tau-b = S / sqrt((pairs - ties of x) (pairs - ties of y)).
    """
    n = x.size
    pairs = n * (n - 1) / 2
    tied = _variance(x, y) / ((pairs - _tied_pairs(x)) * (pairs - _tied_pairs(y)))
    plain = (pairs * (2 * n + 5) / 9) / pairs**2
    return math.sqrt(tied / plain)


def _orders(limits: Floats) -> npt.NDArray[np.int64]:
    """Return (P,) +1 where the first class of a pair is surely higher, -1 where lower, 0 where not known."""
    i, j = np.triu_indices(len(limits), 1)
    above, below = limits[i, 0] > limits[j, 1], limits[i, 1] < limits[j, 0]
    order: npt.NDArray[np.int64] = above.astype(np.int64) - below.astype(np.int64)
    return order


def _both(a: npt.ArrayLike, b: npt.ArrayLike) -> tuple[Floats, Floats]:
    x, y = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if x.shape != y.shape or x.ndim != 1:
        raise BadInput(f"a rank correlation needs two lists of one length, but has {x.shape} and {y.shape}.")
    seen = ~(np.isnan(x) | np.isnan(y))
    return x[seen], y[seen]
