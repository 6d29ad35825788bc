"""What goes along with a class's robustness: natural accuracy, margin, and the norm of its classifier weight.

Nothing here is a cause. Accuracies and margins come from the same images, so that their noise is shared; K classes are
K points, and both the interval and the p-value say so.

Shape key: K classes, D inputs of the last layer.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import special

from fairbench.errors import BadInput
from fairbench.metrics.classwise import Floats
from fairbench.metrics.rank import Correlation, correlation
from fairbench.outcomes import NATURAL, Outcomes
from fairbench.runs import read_json

CLASSIFIER_FILE = "classifier.json"


@dataclass(frozen=True)
class Correlate:
    """One quantity of each class beside its robust accuracy.

    Attributes:
        key: "natural_accuracy", "margin" or "weight_norm".
        words: what it is, in words.
        values: (K,); NaN where undefined.
        interval: (K, 2) 95 % limits; NaN where it has none (a norm is known exactly).
        correlation: with the robust accuracy.
    """

    key: str
    words: str
    values: Floats
    interval: Floats
    correlation: Correlation


def class_margin(outcomes: Outcomes, attack: str, num_classes: int) -> tuple[Floats, Floats]:
    """Return (K,) mean margins (the label's logit minus the largest other) and (K, 2) 95 % t limits.

    NaN for a class without samples or with a null margin; limits need two samples.
    """
    rows = outcomes.of(attack)
    label, margin = rows["label"].to_numpy(), rows["margin"].to_numpy().astype(np.float64)
    mean, limits = np.full(num_classes, np.nan), np.full((num_classes, 2), np.nan)
    for c in np.unique(label):
        values = margin[label == c]
        mean[c] = values.mean()
        if values.size > 1:
            half = special.stdtrit(values.size - 1, 0.975) * values.std(ddof=1) / math.sqrt(values.size)
            limits[c] = mean[c] - half, mean[c] + half
    return mean, limits


def correlates(
    robust: npt.ArrayLike, natural: npt.ArrayLike, natural_interval: npt.ArrayLike, outcomes: Outcomes,
    weight_norm: npt.ArrayLike | None,
) -> tuple[Correlate, ...]:  # fmt: skip
    """Return each known quantity with its rank correlation with (K,) robust accuracies.

    Args:
        robust: (K,) accuracies under the attack; NaN for an absent class.
        natural: (K,) natural accuracies, NaN where unknown.
        natural_interval: (K, 2) their limits.
        outcomes: the table, for natural margins.
        weight_norm: (K,) norms, None where they are not known.
    """
    accuracy = np.asarray(robust, dtype=np.float64)
    num, found = accuracy.size, []
    if NATURAL in outcomes.attacks:
        margins, limits = class_margin(outcomes, NATURAL, num)
        found += [
            ("natural_accuracy", "natural accuracy", np.asarray(natural), np.asarray(natural_interval)),
            ("margin", "mean natural margin", margins, limits),
        ]
    if weight_norm is not None:
        norm = np.asarray(weight_norm, dtype=np.float64)
        found.append(("weight_norm", "norm of its classifier weight", norm, np.full((num, 2), np.nan)))
    return tuple(Correlate(*values, correlation(values[2], accuracy)) for values in found)


def read_classifier(folder: Path | None, num_classes: int) -> dict[str, Any] | None:
    """Return what an evaluation wrote about the last layer: {"layer", "weight_norm", "bias", "reason"}.

    None where it wrote nothing; `layer` is None where no last layer was found, and `reason` then says why. The norm of
    a class that the network does not have is null.

    Raises:
        BadInput: the file is damaged, or is about another number of classes.
    """
    if folder is None or not (folder / CLASSIFIER_FILE).exists():
        return None
    found = read_json(folder / CLASSIFIER_FILE, what="the record of the classifier")
    if found.get("layer") is None:
        return {"layer": None, "weight_norm": None, "bias": None, "reason": str(found.get("reason", ""))}
    if not _numbers(found, "weight_norm", num_classes):
        raise BadInput(
            f"{folder / CLASSIFIER_FILE} must hold {num_classes} numbers as weight_norm, one for each class, but holds "
            f"{str(found.get('weight_norm'))[:60]}; remove the file, or evaluate the checkpoint again."
        )
    return found


def _numbers(record: Mapping[str, Any], key: str, count: int) -> bool:
    values = record.get(key)
    return (
        isinstance(values, list)
        and len(values) == count
        and all(v is None or (isinstance(v, (int, float)) and not isinstance(v, bool)) for v in values)
        and any(v is not None for v in values)
    )
