"""Numbers of one attack from its (K,) class accuracies: average, worst class, spread.

An absent class is undefined: NaN here, `null` in JSON, never 0. Every function leaves absent classes out and returns
NaN where nothing is left.

Shape key: N samples, K classes.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from fairbench.errors import BadInput

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


def class_tally(labels: npt.ArrayLike, robust: npt.ArrayLike, num_classes: int) -> tuple[Ints, Ints]:
    """Count the robust samples and all samples of each class: two (K,) arrays.

    Args:
        labels: (N,) integers in 0 .. K-1.
        robust: (N,) True where the prediction is still the label.
        num_classes: K.

    Raises:
        BadInput: lengths differ, labels lie outside the classes, or `robust` is not boolean.
    """
    y, verdicts = np.asarray(labels), np.asarray(robust)
    if y.ndim != 1 or verdicts.shape != y.shape:
        raise BadInput(f"labels and verdicts must be two lists of one length, but have {y.shape} and {verdicts.shape}.")
    if y.size and (y.dtype.kind not in "iu" or y.min() < 0 or y.max() >= num_classes):
        raise BadInput(
            f"labels must be integers in 0 .. {num_classes - 1} for {num_classes} classes, "
            f"but are {y.dtype} from {y.min()} to {y.max()}."
        )
    if verdicts.dtype != np.bool_ and not np.isin(verdicts, (0, 1)).all():
        raise BadInput(f"verdicts must be true or false for each sample, but are {verdicts.dtype} values.")
    y = y.astype(np.int64)
    count = np.bincount(y, minlength=num_classes)
    return np.bincount(y[verdicts.astype(bool)], minlength=num_classes), count


def class_accuracy(labels: npt.ArrayLike, robust: npt.ArrayLike, num_classes: int) -> Floats:
    """Return the (K,) share of each class's samples that are robust, in [0, 1]; NaN for an absent class.

    Raises:
        BadInput: as `class_tally`.
    """
    hits, count = class_tally(labels, robust, num_classes)
    return accuracy_of(hits, count)


def accuracy_of(hits: npt.ArrayLike, count: npt.ArrayLike) -> Floats:
    """Return hits / count, NaN where count is 0."""
    top, bottom = np.broadcast_arrays(np.asarray(hits, dtype=np.float64), np.asarray(count, dtype=np.float64))
    shares: Floats = np.divide(top, bottom, out=np.full(top.shape, np.nan), where=bottom > 0)
    return shares


def average(accuracy: npt.ArrayLike, count: npt.ArrayLike) -> float:
    """Return the accuracy over samples: class accuracies weighted by (K,) class counts."""
    values, weights = np.asarray(accuracy, dtype=np.float64), np.asarray(count, dtype=np.float64)
    seen = weights > 0
    return float((values[seen] * weights[seen]).sum() / weights[seen].sum()) if seen.any() else math.nan


def class_average(accuracy: npt.ArrayLike) -> float:
    """Return the mean over classes; equal to `average` where all classes have equal counts."""
    present = _present(accuracy)
    return float(present.mean()) if present.size else math.nan


def worst_class(accuracy: npt.ArrayLike) -> int | None:
    """Return the index of the class with the lowest accuracy, the first of several; None where no class is present."""
    values = np.asarray(accuracy, dtype=np.float64)
    return None if np.isnan(values).all() else int(np.nanargmin(values))


def worst_class_accuracy(accuracy: npt.ArrayLike) -> float:
    """Return the lowest class accuracy."""
    present = _present(accuracy)
    return float(present.min()) if present.size else math.nan


def worst_share(accuracy: npt.ArrayLike, share: float) -> float:
    """Return the mean over the ceil(share * K) lowest class accuracies, K counting the classes present.

    Raises:
        BadInput: `share` is outside (0, 1].
    """
    present = np.sort(_present(accuracy))
    return float(present[: classes_in_share(present.size, share)].mean()) if present.size else math.nan


def classes_in_share(num_classes: int, share: float) -> int:
    """Return ceil(share * num_classes), safe against rounding (0.07 * 100 is 7, not 8).

    Raises:
        BadInput: `share` is outside (0, 1].
    """
    if not 0 < share <= 1:
        raise BadInput(f"a share of classes must lie in (0, 1], such as 0.1 for the worst 10 %, but is {share}.")
    return math.ceil(share * num_classes - 1e-9)


def std(accuracy: npt.ArrayLike, *, ddof: int = 0) -> float:
    """Return the standard deviation over classes: population by default, sample with `ddof=1` (undefined for K = 1)."""
    present = _present(accuracy)
    return float(present.std(ddof=ddof)) if present.size > ddof else math.nan


def normalized_std(accuracy: npt.ArrayLike, *, ddof: int = 0) -> float:
    """Return std / mean over classes (NSD); undefined where the mean is 0.

    Papers do not say which `ddof` they use; it changes NSD by sqrt(K / (K - 1)), 5.4 % for ten classes.
    """
    mean = class_average(accuracy)
    return std(accuracy, ddof=ddof) / mean if mean > 0 else math.nan


def class_gap(accuracy: npt.ArrayLike) -> float:
    """Return the highest minus the lowest class accuracy."""
    present = _present(accuracy)
    return float(present.max() - present.min()) if present.size else math.nan


def rho(accuracy: npt.ArrayLike, baseline: npt.ArrayLike, *, count: npt.ArrayLike | None = None) -> float:
    """Return how much the worst class and the average gain together over a baseline, each relative to it.

    (worst - worst_b) / worst_b + (average - average_b) / average_b; above 0 is a better trade-off. The average is over
    classes, or over samples where (K,) counts are given. Undefined where the baseline's worst class is at 0.
    Source: WAT (Li and Liu, AAAI 2023).
    """
    worst, worst_b = worst_class_accuracy(accuracy), worst_class_accuracy(baseline)
    if count is None:
        mean, mean_b = class_average(accuracy), class_average(baseline)
    else:
        mean, mean_b = average(accuracy, count), average(baseline, count)
    if not (worst_b > 0 and mean_b > 0):
        return math.nan
    return (worst - worst_b) / worst_b + (mean - mean_b) / mean_b


def _present(accuracy: npt.ArrayLike) -> Floats:
    values = np.asarray(accuracy, dtype=np.float64)
    if values.ndim != 1:
        raise BadInput(f"class accuracies must be a list of K numbers, but have the shape {values.shape}.")
    present: Floats = values[~np.isnan(values)]
    return present
