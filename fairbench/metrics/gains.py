"""What a stronger attack gains over a weaker one, class by class, on the same images.

Shape key: N samples, K classes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fairbench.errors import BadInput
from fairbench.metrics.binomial import wilson
from fairbench.metrics.classwise import Floats, accuracy_of
from fairbench.metrics.paired import Difference, PairedCounts, average_difference, holm, mcnemar
from fairbench.metrics.rank import Correlation, correlation
from fairbench.outcomes import Outcomes

ALPHA = 0.05


@dataclass(frozen=True)
class Gain:
    """What `stronger` breaks beyond `weaker`.

    Attributes:
        weaker: an attack.
        stronger: another attack of the same samples.
        pairs: (K,) counts; `lost` are broken by the stronger attack only, `gained` by the weaker one only.
        points: (K,) fall of the class accuracy, a fraction: (lost - gained) / count; below 0 where the weaker one is
            the stronger one for this class. NaN for an absent class.
        share: (K,) lost / the weaker attack's survivors: how much of what was left the stronger one takes. NaN where
            nothing was left.
        interval: (K, 2) Wilson's limits of `share`.
        p_holm: (K,) two-sided exact McNemar p-values, adjusted over the classes (Holm).
        average: fall of the average with its 95 % interval.
        trend: rank correlation of `share` with the weaker attack's class accuracy: below 0 where the stronger attack
            takes more from classes that are weak already. It is not bound to be negative, as points would be.
    """

    weaker: str
    stronger: str
    pairs: PairedCounts
    points: Floats
    share: Floats
    interval: Floats
    p_holm: Floats
    average: Difference
    trend: Correlation

    @property
    def decided(self) -> list[int]:
        """The classes that lose more than chance explains (Holm, 5 %), the largest fall first."""
        found = np.flatnonzero((self.p_holm < ALPHA) & (self.points > 0))
        return sorted((int(c) for c in found), key=lambda c: (-self.points[c], c))


def gain(outcomes: Outcomes, weaker: str, stronger: str, num_classes: int) -> Gain:
    """Compare two attacks of one table on the same samples.

    Raises:
        BadInput: an attack is missing, or they saw different samples.
    """
    if not np.array_equal(outcomes.of(weaker)["index"], outcomes.of(stronger)["index"]):
        raise BadInput(f"the attacks {weaker!r} and {stronger!r} saw different samples; gains need the same ones.")
    pairs = PairedCounts.of(
        outcomes.labels(weaker), outcomes.robust(weaker), outcomes.robust(stronger), num_classes
    )  # fmt: skip
    survivors = pairs.both + pairs.lost
    share = accuracy_of(pairs.lost, survivors)
    p = [
        mcnemar(int(lost), int(gained)) if count else np.nan
        for count, lost, gained in zip(pairs.count, pairs.lost, pairs.gained, strict=True)
    ]
    change = average_difference(pairs)
    fall = Difference(-change.value, -change.high, -change.low)
    return Gain(
        weaker, stronger, pairs, pairs.before - pairs.after, share, wilson(pairs.lost, survivors), holm(p), fall,
        correlation(pairs.before, share),
    )  # fmt: skip
