"""What the same counts would show if every class had the pooled accuracy: the noise floor of worst class and spread.

Even a perfectly even model has a worst class below its average, because test sets are finite. Here class c is an
independent Binomial(n_c, p) / n_c with one p, the share of all samples that are robust. Expected value and central
95 % range (the 2.5 % and 97.5 % quantiles) of

- average, worst class, gap: exact, also for unequal counts (quantiles of the gap are found by halving and then moved
  to the difference of two attainable accuracies);
- everything else: simulated with a fixed seed, from uniform numbers through the inverse distribution function, so that
  only the generator's bits matter; 20,000 tables of up to 25 classes, fewer of more (2,000 from 250 classes on).

Shape key: K classes, M attainable accuracies, D distinct counts, R simulated tables.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from fairbench.metrics.binomial import binomial_cdf, binomial_quantile, present_counts
from fairbench.metrics.classwise import Floats, Ints, classes_in_share

_SEED = 20210526
_RARE = 1e-12
_NUDGE = 1e-9


@dataclass(frozen=True)
class Expected:
    """A metric's expected value and central 95 % range; NaN where undefined."""

    expected: float
    low: float
    high: float


def if_equal(hits: npt.ArrayLike, count: npt.ArrayLike) -> dict[str, Expected]:
    """Return each metric's expectation if all classes had one accuracy, from (K,) hits and counts.

    Keys: average, class_average, worst_class, worst_10pct, worst_20pct, std, normalized_std, normalized_std_ddof1, gap.

    Raises:
        BadInput: counts that are no counts.
    """
    k, n = present_counts(hits, count)
    if not n.size:
        return dict.fromkeys(METRICS, Expected(np.nan, np.nan, np.nan))
    pooled = float(k.sum() / n.sum())
    found = {"average": _average(pooled, int(n.sum())), **_worst_and_gap(pooled, n), **_simulated(pooled, n)}
    simulated = found["class_average"]
    found["class_average"] = found["average"] if n.min() == n.max() else Expected(pooled, simulated.low, simulated.high)
    for name, share in (("worst_10pct", 0.1), ("worst_20pct", 0.2)):
        if classes_in_share(n.size, share) == 1:
            found[name] = found["worst_class"]
    return {name: found[name] for name in METRICS}


METRICS = (
    "average", "class_average", "worst_class", "worst_10pct", "worst_20pct", "std", "normalized_std",
    "normalized_std_ddof1", "gap",
)  # fmt: skip


def _average(pooled: float, total: int) -> Expected:
    low, high = (binomial_quantile(level, total, pooled) / total for level in (0.025, 0.975))
    return Expected(pooled, low, high)


class _Classes:
    """K independent binomial shares with one p: products over classes of their distribution functions."""

    def __init__(self, pooled: float, count: Ints) -> None:
        self.sizes, self.times = np.unique(count, return_counts=True)
        # One long table: for each size a 0 for "none", then P(hits <= 0), ..., P(hits <= size).
        cdf = [np.concatenate([[0.0], _cdf(int(size), pooled)]) for size in self.sizes]
        self.cdf: Floats = np.concatenate(cdf)
        self.start = np.cumsum(self.sizes + 2) - self.sizes - 1
        values = []
        for size in self.sizes:
            # What is cut off has a probability of at most 1e-12 over all classes.
            rare = _RARE / count.size
            low, high = (binomial_quantile(level, size, pooled) for level in (rare, 1 - rare))
            values.append(np.arange(max(low - 1, 0), min(high + 1, size) + 1) / size)
        self.values: Floats = np.unique(np.concatenate(values))

    def at_most(self, t: Floats, *, strictly: bool = False) -> Floats:
        """Return (D, M) P(share <= t), or P(share < t), for one class of each size."""
        hits = t * self.sizes[:, None]
        # t is a quotient of integers: the nudge undoes the rounding of t * size.
        last = np.ceil(hits - _NUDGE) - 1 if strictly else np.floor(hits + _NUDGE)
        place = np.minimum(last.astype(np.int64), self.sizes[:, None]) + self.start[:, None]
        chances: Floats = self.cdf[place]
        return chances

    def all_of(self, chances: Floats) -> Floats:
        """Return (M,) the product over all K classes of (D, M) chances per size."""
        with np.errstate(divide="ignore"):
            result: Floats = np.exp(self.times @ np.log(np.clip(chances, 0.0, 1.0)))
        return result


def _worst_and_gap(pooled: float, count: Ints) -> dict[str, Expected]:
    classes = _Classes(pooled, count)
    t = classes.values
    upto, below = classes.at_most(t), classes.at_most(t, strictly=True)
    lowest_upto, highest_upto = 1 - classes.all_of(1 - upto), classes.all_of(upto)
    # E = t_0 + sum over steps of their width times P(> where the step begins).
    steps = np.diff(t)
    lowest = float(t[0] + (steps * (1 - lowest_upto[:-1])).sum())
    highest = float(t[0] + (steps * (1 - highest_upto[:-1])).sum())

    # The lowest is hardly ever among most of the values: only where it can be does the sum below go.
    often = np.diff(lowest_upto, prepend=0.0) > _RARE / t.size
    start, under, over = t[often], below[:, often], upto[:, often]

    def gap_at_most(gap: float) -> float:
        """P(highest - lowest <= gap): summed over the lowest value t: all in [t, t + gap], not all above t."""
        top = classes.at_most(start + gap)
        return float((classes.all_of(top - under) - classes.all_of(top - over)).sum())

    def gap_quantile(level: float) -> float:
        low, high = -_NUDGE, 1.0
        if classes.sizes.size == 1:
            # Every attainable gap is a whole number of images: a third of the steps.
            size = int(classes.sizes[0])
            high = bisect_left(range(size), level, key=lambda hits: gap_at_most(hits / size)) / size
        else:
            while high - low > _NUDGE / 2:
                middle = (low + high) / 2
                low, high = (low, middle) if gap_at_most(middle) >= level else (middle, high)
        reach = np.searchsorted(t, t + high + _NUDGE, side="right") - 1
        return float((t[reach] - t).max())

    def quantile(level: float) -> float:
        return float(t[min(int(np.searchsorted(lowest_upto, level)), t.size - 1)])

    return {
        "worst_class": Expected(lowest, quantile(0.025), quantile(0.975)),
        "gap": Expected(highest - lowest, gap_quantile(0.025), gap_quantile(0.975)),
    }


def _simulated(pooled: float, count: Ints) -> dict[str, Expected]:
    num = count.size
    uniform = _uniform(num)
    accuracy = np.empty_like(uniform)
    sizes = np.unique(count)
    for size in sizes:
        columns = count == size
        cdf = _cdf(int(size), pooled)[:-1]
        if sizes.size == 1:
            # Each number's place in the distribution, from the distribution's places among the sorted numbers.
            order, ascending = _ascending(num)
            ends = np.searchsorted(ascending, cdf, side="left")
            accuracy.ravel()[order] = np.repeat(np.arange(size + 1) / size, np.diff(ends, prepend=0, append=order.size))
        else:
            accuracy[:, columns] = np.searchsorted(cdf, uniform[:, columns], side="right") / size
    mean, deviation = accuracy.mean(axis=1), accuracy.std(axis=1)
    defined = mean > 0
    relative = deviation[defined] / mean[defined]
    found = {"class_average": mean, "std": deviation, "normalized_std": relative}
    found["normalized_std_ddof1"] = relative * np.sqrt(num / (num - 1)) if num > 1 else relative[:0]
    for name, share in (("worst_10pct", 0.1), ("worst_20pct", 0.2)):
        kept = classes_in_share(num, share)
        if kept == 1:
            # The lowest class, which is known exactly.
            continue
        # Which two are lowest follows from the uniform numbers; a sum of more depends on their order by a rounding.
        known = kept == 2 and sizes.size == 1
        lowest = accuracy.ravel()[_two_lowest(num)] if known else np.partition(accuracy, kept - 1, axis=1)[:, :kept]
        found[name] = lowest.mean(axis=1)
    return {name: _summary(values) for name, values in found.items()}


@lru_cache(maxsize=4)
def _uniform(num: int) -> Floats:
    """Return (R, K) uniform numbers; the same for every table of K classes."""
    tables = int(np.clip(500_000 // num, 2_000, 20_000))
    numbers = np.random.Generator(np.random.PCG64(_SEED)).random((tables, num))
    numbers.setflags(write=False)
    return numbers


@lru_cache(maxsize=4)
def _ascending(num: int) -> tuple[Ints, Floats]:
    """Return (R * K,) the order that sorts them, and them in that order."""
    order = np.argsort(_uniform(num), axis=None)
    ascending = _uniform(num).ravel()[order]
    for numbers in (order, ascending):
        numbers.setflags(write=False)
    return order, ascending


@lru_cache(maxsize=4)
def _two_lowest(num: int) -> Ints:
    """Return (R, 2) the flat places of the two lowest numbers of each table."""
    columns = np.argpartition(_uniform(num), 1, axis=1)[:, :2]
    places: Ints = columns + num * np.arange(len(columns))[:, None]
    places.setflags(write=False)
    return places


@lru_cache(maxsize=64)
def _cdf(size: int, pooled: float) -> Floats:
    """Return (size + 1,) P(hits <= 0), ..., P(hits <= size)."""
    return binomial_cdf(np.arange(size + 1), size, pooled)


def _summary(values: Floats) -> Expected:
    if not values.size:
        return Expected(np.nan, np.nan, np.nan)
    low, high = np.quantile(values, [0.025, 0.975])
    return Expected(float(values.mean()), float(low), float(high))
