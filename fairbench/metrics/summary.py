"""metrics.json: every number of every attack in a table, with its interval and what equal classes would show.

A pure function of the outcome table and the class names: the same table gives the same bytes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from fairbench.errors import BadInput
from fairbench.metrics.binomial import wilson
from fairbench.metrics.classwise import (
    Floats,
    accuracy_of,
    class_average,
    class_gap,
    class_tally,
    normalized_std,
    std,
    worst_class,
    worst_share,
)
from fairbench.metrics.confusion import confusion_matrix
from fairbench.metrics.equal import if_equal
from fairbench.metrics.intervals import metric_intervals
from fairbench.metrics.worst import probability_worst
from fairbench.outcomes import Outcomes
from fairbench.runs import Run, to_json


def summarize(outcomes: Outcomes | Run, class_names: Sequence[str] | None = None) -> dict[str, Any]:
    """Return the content of metrics.json: {"attacks": {name: metrics}}, "natural" first.

    Accuracies, stds and gaps are fractions; an undefined number is NaN here and `null` in the file. `index` and `name`
    of the worst class are None where no class is present.

    Args:
        outcomes: the table, or a run.
        class_names: K names in order of label; a run knows them.

    Raises:
        BadInput: no names for a bare table, or labels and predictions that do not fit them.
    """
    if isinstance(outcomes, Run):
        names = outcomes.class_names if class_names is None else tuple(class_names)
        outcomes = outcomes.outcomes
    elif class_names is None:
        raise BadInput("a bare outcome table does not know its classes: give class_names, or a run.")
    else:
        names = tuple(class_names)
    return {"attacks": {attack: _one_attack(outcomes, attack, names) for attack in outcomes.attacks}}


def metrics_bytes(outcomes: Outcomes | Run, class_names: Sequence[str] | None = None) -> str:
    """Return the text of metrics.json."""
    return to_json(summarize(outcomes, class_names))


def _one_attack(outcomes: Outcomes, attack: str, names: tuple[str, ...]) -> dict[str, Any]:
    rows = outcomes.of(attack)
    labels, predictions = rows["label"].to_numpy(), rows["prediction"].to_numpy()
    hits, count = class_tally(labels, labels == predictions, len(names))
    accuracy = accuracy_of(hits, count)
    worst = worst_class(accuracy)
    limits = {name: _pair(pair) for name, pair in metric_intervals(hits, count).items()}
    even = if_equal(hits, count)
    return {
        "average": float(hits.sum() / count.sum()),
        "class_average": class_average(accuracy),
        "worst_class": {
            "index": worst,
            "name": None if worst is None else names[worst],
            "accuracy": math.nan if worst is None else float(accuracy[worst]),
            "probability": math.nan if worst is None else probability_worst(hits, count, worst),
        },
        "worst_10pct": worst_share(accuracy, 0.1),
        "worst_20pct": worst_share(accuracy, 0.2),
        "std": std(accuracy),
        "normalized_std": normalized_std(accuracy),
        "normalized_std_ddof1": normalized_std(accuracy, ddof=1),
        "gap": class_gap(accuracy),
        "class_accuracy": accuracy.tolist(),
        "class_interval": wilson(hits, count).tolist(),
        "class_count": count.tolist(),
        "confusion": confusion_matrix(labels, predictions, len(names)).tolist(),
        "interval": limits,
        "if_equal": {name: {"expected": e.expected, "range": [e.low, e.high]} for name, e in even.items()},
    }


def _pair(limits: Floats) -> list[float]:
    low, high = np.asarray(limits, dtype=np.float64)
    return [float(low), float(high)]
