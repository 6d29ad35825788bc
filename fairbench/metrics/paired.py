"""Two models on the same images: what changed per class, exact tests of it, and the difference of the averages.

lost: robust before, broken after. gained: broken before, robust after. Differences are after - before.

Shape key: N samples, K classes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import special

from fairbench.errors import BadInput
from fairbench.metrics.binomial import exact_lower, exact_upper
from fairbench.metrics.classwise import Floats, Ints, accuracy_of, class_tally

_SEED = 20210526
_DRAWS = 20_000
_FEW = 100


@dataclass(frozen=True)
class Difference:
    """after - before, with a 95 % interval; `decided` says whether the interval leaves out 0."""

    value: float
    low: float
    high: float

    @property
    def decided(self) -> bool:
        """True where the sign is known."""
        return self.low > 0 or self.high < 0


@dataclass(frozen=True)
class PairedCounts:
    """(K,) images of each class: all, robust in both runs, robust only before, robust only after."""

    count: Ints
    both: Ints
    lost: Ints
    gained: Ints

    @classmethod
    def of(cls, labels: npt.ArrayLike, before: npt.ArrayLike, after: npt.ArrayLike, num_classes: int) -> PairedCounts:
        """Count from (N,) labels and verdicts in the same order of images.

        Raises:
            BadInput: lengths differ, or labels lie outside the classes.
        """
        first, second = np.asarray(before, dtype=bool), np.asarray(after, dtype=bool)
        if first.shape != second.shape:
            raise BadInput(f"paired verdicts must be of the same images, but there are {first.size} and {second.size}.")
        both, count = class_tally(labels, first & second, num_classes)
        lost, gained = (class_tally(labels, v, num_classes)[0] for v in (first & ~second, ~first & second))
        return cls(count, both, lost, gained)

    @property
    def swapped(self) -> PairedCounts:
        """The same images with before and after exchanged."""
        return PairedCounts(self.count, self.both, self.gained, self.lost)

    @property
    def present(self) -> PairedCounts:
        """The classes that have samples."""
        seen = self.count > 0
        return PairedCounts(self.count[seen], self.both[seen], self.lost[seen], self.gained[seen])

    @property
    def before(self) -> Floats:
        """(K,) class accuracies before; NaN for an absent class."""
        return accuracy_of(self.both + self.lost, self.count)

    @property
    def after(self) -> Floats:
        """(K,) class accuracies after; NaN for an absent class."""
        return accuracy_of(self.both + self.gained, self.count)


def mcnemar(lost: int, gained: int) -> float:
    """Return the two-sided exact McNemar p-value: are losses and gains equally likely?"""
    return float(min(1.0, 2 * special.bdtr(min(lost, gained), lost + gained, 0.5)))


def mcnemar_one_sided(lost: int, gained: int) -> float:
    """Return the one-sided exact McNemar p-value of "it got worse": P(at least `lost` of the changes are losses)."""
    return float(special.bdtr(gained, lost + gained, 0.5))


def holm(p: npt.ArrayLike) -> Floats:
    """Return (K,) p-values adjusted for K tests (Holm, Scandinavian Journal of Statistics 1979).

    The chance of even one false finding stays below the level that the adjusted values are compared with. NaN is no
    test: it stays NaN and does not count.
    """
    values = np.asarray(p, dtype=np.float64)
    adjusted = np.full(values.shape, np.nan)
    tests = np.flatnonzero(~np.isnan(values))
    order = tests[np.argsort(values[tests], kind="stable")]
    steps = values[order] * np.arange(order.size, 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return adjusted


def average_difference(pairs: PairedCounts, *, confidence: float = 0.95) -> Difference:
    """Return the difference of the averages over samples, with an interval that agrees with the exact McNemar test.

    Images are resampled with both of their verdicts (paired bootstrap, fixed seed), so only the numbers of lost and
    gained matter, and a multinomial draw is a resample. With fewer than 100 changed or 100 unchanged images a bootstrap
    covers too little (93.7 % where nothing is gained; with no change it has no width): there, exact limits of the two
    shares are combined (`paired_limit`). Where the test decides nothing, the interval is widened to hold 0.
    """
    total, lost, gained = (int(part.sum()) for part in (pairs.count, pairs.lost, pairs.gained))
    if total == 0:
        return Difference(np.nan, np.nan, np.nan)
    value, error = (gained - lost) / total, (1 - confidence) / 2
    if min(lost + gained, total - lost - gained) < _FEW:
        low, high = -float(paired_limit(total, gained, lost, error)), float(paired_limit(total, lost, gained, error))
    else:
        chances = np.array([lost, gained, total - lost - gained]) / total
        draws = np.random.Generator(np.random.PCG64(_SEED)).multinomial(total, chances, size=_DRAWS)
        low, high = np.quantile((draws[:, 1] - draws[:, 0]) / total, [error, 1 - error])
    if mcnemar(lost, gained) >= 1 - confidence:
        low, high = min(low, 0.0), max(high, 0.0)
    return Difference(value, float(min(low, value)), float(max(high, value)))


def paired_limit(count: npt.ArrayLike, lost: npt.ArrayLike, gained: npt.ArrayLike, error: float) -> Floats:
    """Return upper limits of after - before at the one-sided `error`, from counts of any one shape.

    Exact limits of the shares of lost and gained are combined (MOVER, Zou and Donner 2008), with the correlation of two
    cells of one multinomial, which is negative and so widens their difference (Newcombe 1998). The lower limit is minus
    this with lost and gained exchanged.
    """
    n = np.asarray(count)
    plus, minus = np.asarray(gained) / n, np.asarray(lost) / n
    up, down = exact_upper(gained, n, error=error) - plus, minus - exact_lower(lost, n, error=error)
    with np.errstate(divide="ignore", invalid="ignore"):
        odds = plus * minus / ((1 - plus) * (1 - minus))
    correlation = np.sqrt(np.where(np.isfinite(odds), odds, 0.0))
    limit: Floats = np.minimum(plus - minus + np.sqrt(up**2 + down**2 + 2 * correlation * up * down), 1.0)
    return limit
