"""metrics.json: every number of every attack in a table, with its interval and what equal classes would show.

A pure function of the outcome table and the class names: the same table gives the same bytes.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fairbench.errors import BadInput
from fairbench.json_text import undefined_to_null
from fairbench.metrics.binomial import simultaneous_box, wilson
from fairbench.metrics.classwise import (
    Floats,
    Ints,
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
from fairbench.runs import Run, read_json, to_json

if TYPE_CHECKING:
    import pandas as pd


def summarize(outcomes: Outcomes | Run, class_names: Sequence[str] | None = None) -> dict[str, Any]:
    """Return the content of metrics.json: {"attacks": {name: metrics}}, "natural" first.

    Accuracies, stds and gaps are fractions; an undefined number is NaN here and `null` in the file. `index` and `name`
    of the worst class are None where no class is present. `class_interval` has Wilson's limits of each class by itself,
    `class_interval_simultaneous` exact limits that hold for all classes together (Sidak).

    Args:
        outcomes: the table, or a run.
        class_names: K names in order of label; a run knows them.

    Raises:
        BadInput: no names for a bare table, or labels and predictions that do not fit them.
    """
    content = _summary(outcomes, class_names)
    for one in content["attacks"].values():
        one["confusion"] = one["confusion"].tolist()
    return content


def metrics_bytes(outcomes: Outcomes | Run, class_names: Sequence[str] | None = None) -> str:
    """Return the text of metrics.json."""
    return to_json(_summary(outcomes, class_names))


def metrics_and_text(run: Run) -> tuple[dict[str, Any], str]:
    """Return what metrics.json says, undefined as None and each confusion as a (K, K) array, and its text."""
    content: dict[str, Any] = undefined_to_null(_summary(run))
    return content, to_json(content)


def _summary(outcomes: Outcomes | Run, class_names: Sequence[str] | None = None) -> dict[str, Any]:
    """Return what `summarize` does, with each confusion as a (K, K) array."""
    if isinstance(outcomes, Run):
        names = outcomes.class_names if class_names is None else tuple(class_names)
        outcomes = outcomes.outcomes
    elif class_names is None:
        raise BadInput("a bare outcome table does not know its classes: give class_names, or a run.")
    else:
        names = tuple(class_names)
    tallies = {attack: _tally(outcomes.of(attack), len(names)) for attack in outcomes.attacks}
    limits = _intervals(tallies)
    return {"attacks": {attack: _one_attack(tally, limits[attack], names) for attack, tally in tallies.items()}}


def refuse_other_metrics(run: Run) -> None:
    """Check that a run folder's metrics.json is what its table gives; numbers may differ by a rounding, 1e-9.

    Raises:
        BadInput: it is missing, or says something else.
    """
    assert run.folder is not None
    path = run.folder / "metrics.json"
    place = _first_difference(read_json(path, what="metrics"), json.loads(metrics_bytes(run)), ())
    if place is not None:
        where, there, here = place
        raise BadInput(
            f"{path} does not follow from the table beside it: {' > '.join(where)[:120]} is {there[:60]} there, but "
            f"the table gives {here[:60]}; it was edited, or another version of fairbench wrote it; 'fairbench report' "
            "writes it again."
        )


def _first_difference(found: object, wanted: object, where: tuple[str, ...]) -> tuple[tuple[str, ...], str, str] | None:
    """Return where two JSON values first differ and what stands there in each, None where they agree."""
    if isinstance(wanted, dict) and isinstance(found, dict):
        for key in dict.fromkeys([*wanted, *found]):
            if key not in found or key not in wanted:
                said = ["missing" if key not in side else json.dumps(side[key]) for side in (found, wanted)]
                return (*where, key), said[0], said[1]
            if (inner := _first_difference(found[key], wanted[key], (*where, key))) is not None:
                return inner
        return None
    if isinstance(wanted, list) and isinstance(found, list) and len(wanted) == len(found):
        pairs = (_first_difference(*pair, (*where, str(i))) for i, pair in enumerate(zip(found, wanted, strict=True)))
        return next((one for one in pairs if one is not None), None)
    numbers = all(isinstance(one, (int, float)) and not isinstance(one, bool) for one in (found, wanted))
    if found == wanted or (numbers and math.isclose(found, wanted, rel_tol=1e-9, abs_tol=1e-9)):  # type: ignore[arg-type]
        return None
    return where, json.dumps(found), json.dumps(wanted)


class _Tally(NamedTuple):
    """One attack's (K,) robust samples, (K,) samples and (K, K) confusion."""

    hits: Ints
    samples: Ints
    confusion: Ints


def _tally(rows: pd.DataFrame, num_classes: int) -> _Tally:
    labels, predictions = rows["label"].to_numpy(), rows["prediction"].to_numpy()
    hits, count = class_tally(labels, labels == predictions, num_classes)
    return _Tally(hits, count, confusion_matrix(labels, predictions, num_classes))


def _intervals(tallies: Mapping[str, _Tally]) -> dict[str, dict[str, list[float]]]:
    """Return each attack's limits by metric.

    The attacks that saw equally many samples of every class are worked out together, several times faster. Classes of
    different sizes are not: there the class average's limits are rounded otherwise for several attacks than for one.
    """
    alike: dict[bytes | str, list[str]] = {}
    for attack, tally in tallies.items():
        present = tally.samples[tally.samples > 0]
        together = present.size > 0 and present.min() == present.max()
        alike.setdefault(tally.samples.tobytes() if together else attack, []).append(attack)
    found: dict[str, dict[str, list[float]]] = {}
    for attacks in alike.values():
        hits = np.stack([tallies[name].hits for name in attacks])
        limits = metric_intervals(hits if len(attacks) > 1 else hits[0], tallies[attacks[0]].samples)
        for place, attack in enumerate(attacks):
            found[attack] = {name: _pair(np.atleast_2d(pairs)[place]) for name, pairs in limits.items()}
    return found


def _one_attack(tally: _Tally, limits: dict[str, list[float]], names: tuple[str, ...]) -> dict[str, Any]:
    hits, count = tally.hits, tally.samples
    accuracy = accuracy_of(hits, count)
    worst = worst_class(accuracy)
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
        "class_interval_simultaneous": simultaneous_box(hits, count).tolist(),
        "class_count": count.tolist(),
        "confusion": tally.confusion,
        "interval": limits,
        "if_equal": {name: {"expected": e.expected, "range": [e.low, e.high]} for name, e in even.items()},
    }


def _pair(limits: Floats) -> list[float]:
    low, high = np.asarray(limits, dtype=np.float64)
    return [float(low), float(high)]
