"""Where predictions go: the K x K table of labels and predictions.

Shape key: N samples, K classes.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from fairbench.errors import BadInput
from fairbench.metrics.classwise import Floats, Ints


def confusion_matrix(labels: npt.ArrayLike, predictions: npt.ArrayLike, num_classes: int) -> Ints:
    """Count the (K, K) pairs: row label, column prediction.

    Raises:
        BadInput: lengths differ, or a label or prediction lies outside 0 .. K-1.
    """
    pair = []
    for name, values in (("labels", np.asarray(labels)), ("predictions", np.asarray(predictions))):
        if values.ndim != 1 or (values.size and values.dtype.kind not in "iu"):
            raise BadInput(f"{name} must be a list of integers, but are {values.dtype} of shape {values.shape}.")
        if values.size and (values.min() < 0 or values.max() >= num_classes):
            raise BadInput(
                f"{name} must lie in 0 .. {num_classes - 1} for {num_classes} classes, "
                f"but range from {values.min()} to {values.max()}."
            )
        pair.append(values.astype(np.int64))
    y, predicted = pair
    if y.shape != predicted.shape:
        raise BadInput(f"labels and predictions must have one length, but have {len(y)} and {len(predicted)}.")
    cells = np.bincount(y * num_classes + predicted, minlength=num_classes * num_classes)
    return cells.reshape(num_classes, num_classes)


def row_shares(confusion: npt.ArrayLike) -> Floats:
    """Return each row divided by its sum: (K, K) shares of a label's samples; NaN in the row of an absent class."""
    cells = np.asarray(confusion, dtype=np.float64)
    total = cells.sum(axis=1, keepdims=True)
    shares: Floats = np.divide(cells, total, out=np.full(cells.shape, np.nan), where=total > 0)
    return shares
