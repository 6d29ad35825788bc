"""The 95 % interval of every reported number; which method each one uses is the design's choice.

- class accuracy, and the average on the total count: Wilson (conservative for a stratified sample); the average of
  fewer than ten images that are robust, or that are not: exact limits;
- class average: the same where counts are equal; elsewhere the classes' exact limits, combined (MOVER);
- worst class: least exact limits; worst 10 % and 20 %, gap: range over the simultaneous exact box;
- std and normalized std: inverted moment-matched test, or the range over the box.

Not the bootstrap: minimum, std and gap are not regular where classes tie, and it covers 0 to 91 % there.

Shape key: K classes, ... any number of simulated tables.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from fairbench.metrics.binomial import clopper_pearson, present_counts, simultaneous_box, wilson
from fairbench.metrics.classwise import Floats
from fairbench.metrics.spread import gap_interval, normalized_std_interval, std_interval
from fairbench.metrics.worst import probability_worst, worst_class_interval, worst_share_interval

__all__ = [
    "average_interval",
    "class_average_interval",
    "clopper_pearson",
    "gap_interval",
    "metric_intervals",
    "normalized_std_interval",
    "probability_worst",
    "simultaneous_box",
    "std_interval",
    "wilson",
    "worst_class_interval",
    "worst_share_interval",
]


#: With fewer hits or errors than this among all samples the average has exact limits.
_FEW = 10


def average_interval(hits: npt.ArrayLike, count: npt.ArrayLike, *, confidence: float = 0.95) -> Floats:
    """Return (..., 2) limits of the average over samples, from (..., K) hits and (K,) counts.

    Wilson's on the total count, and exact ones where fewer than ten samples are hits, or errors: there Wilson covers as
    little as 84 % (one error or none in all). Together they cover at least 92.5 % at any p (20 to 4,000 samples).
    """
    k, n = present_counts(hits, count)
    hit, total = k.sum(axis=-1), n.sum()
    few = np.minimum(hit, total - hit) < _FEW
    exact = clopper_pearson(hit, total, confidence=confidence)
    return np.where(few[..., None], exact, wilson(hit, total, confidence=confidence))


def class_average_interval(hits: npt.ArrayLike, count: npt.ArrayLike, *, confidence: float = 0.95) -> Floats:
    """Return (..., 2) limits of the average over classes, from (..., K) hits and (K,) counts.

    With equal counts it is the average over samples. Elsewhere each class's exact limits give its uncertainty on either
    side, and independent classes add in squares (Zou and Donner, Statistics in Medicine 2008).
    """
    k, n = present_counts(hits, count)
    if not n.size or n.min() == n.max():
        return average_interval(k, n, confidence=confidence)
    box, accuracy = clopper_pearson(k, n, confidence=confidence), k / n
    middle = accuracy.mean(axis=-1)
    below, above = (np.sqrt(((box[..., side] - accuracy) ** 2).sum(axis=-1)) / n.size for side in (0, 1))
    return np.stack([np.maximum(middle - below, 0.0), np.minimum(middle + above, 1.0)], axis=-1)


def metric_intervals(hits: npt.ArrayLike, count: npt.ArrayLike, *, confidence: float = 0.95) -> dict[str, Floats]:
    """Return (..., 2) limits of every metric by its name in metrics.json, from (..., K) hits and (K,) counts.

    Raises:
        BadInput: counts that are no counts, or a confidence outside (0, 1).
    """
    k, n = present_counts(hits, count)
    relative = normalized_std_interval(k, n, confidence=confidence)
    sample = np.sqrt(n.size / (n.size - 1)) if n.size > 1 else np.nan
    return {
        "average": average_interval(k, n, confidence=confidence),
        "class_average": class_average_interval(k, n, confidence=confidence),
        "worst_class": worst_class_interval(k, n, confidence=confidence),
        "worst_10pct": worst_share_interval(k, n, 0.1, confidence=confidence),
        "worst_20pct": worst_share_interval(k, n, 0.2, confidence=confidence),
        "std": std_interval(k, n, confidence=confidence),
        "normalized_std": relative,
        "normalized_std_ddof1": relative * sample,
        "gap": gap_interval(k, n, confidence=confidence),
    }
