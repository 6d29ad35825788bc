"""Why these classes: one run's diagnosis, a pure function of its table, its record and what is known of its last layer.

`diagnose` returns objects, `diagnosis_json` the text of diagnosis.json.

Shape key: K classes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fairbench.errors import BadInput
from fairbench.metrics.binomial import wilson
from fairbench.metrics.classwise import Floats, Ints, accuracy_of, class_tally
from fairbench.metrics.confusion import confusion_matrix
from fairbench.metrics.correlates import Correlate, correlates, read_classifier
from fairbench.metrics.flows import Flows, FlowsByAttack, already_wrong, flows
from fairbench.metrics.gains import Gain, gain
from fairbench.metrics.rank import Agreement, order_agreement
from fairbench.metrics.superclass import (
    Superclasses,
    SuperclassShare,
    known_superclasses,
    read_superclasses,
    superclass_share,
)
from fairbench.outcomes import NATURAL, Outcomes
from fairbench.runs import Run, to_json

SUPERCLASS_FILE = "superclasses.json"
DIAGNOSIS_FILE = "diagnosis.json"
_BUDGET = ("norm", "eps", "steps", "step_size", "start", "restarts", "early_stop")


@dataclass(frozen=True)
class Ranking:
    """How far two attacks, or two runs under one attack, rank the classes alike."""

    first: str
    second: str
    agreement: Agreement


@dataclass(frozen=True)
class Temperature:
    """Temperature-PGD at one T against PGD of the same steps, step size, start and restarts.

    `temperature` is what logits are divided by.
    """

    attack: str
    temperature: float
    gain: Gain


@dataclass(frozen=True)
class Diagnosis:
    """What goes along with a run's weak classes.

    Attributes:
        attacks: attacks of their own, the weakest (highest average) first; natural is not one of them.
        attack: the strongest of them, which the rest is about; natural where there is no other.
        count: (K,) samples.
        natural: (K,) natural accuracies; NaN where the run has none.
        robust: (K,) accuracies under `attack`; NaN for an absent class.
        flows: where samples go under `attack`.
        already_wrong: (K,) broken samples that are wrong without the attack, too.
        all_flows: the same graph for each attack.
        superclasses: the partition, None where none is known.
        kin: how many errors under `attack` stay within a superclass.
        correlates: what goes along with robustness.
        classifier: why there is no norm of weights, "" where there is one.
        rankings: every other attack (natural included, Temperature-PGD not) against `attack`.
        gains: what `attack` takes beyond each of them on the same samples, the weakest first; natural is not one.
        temperatures: the sweep of Temperature-PGD, by T.
    """

    attacks: tuple[str, ...]
    attack: str
    count: Ints
    natural: Floats
    robust: Floats
    flows: Flows
    already_wrong: Floats
    all_flows: Mapping[str, Flows]
    superclasses: Superclasses | None
    kin: SuperclassShare | None
    correlates: tuple[Correlate, ...]
    classifier: str
    rankings: tuple[Ranking, ...]
    gains: tuple[Gain, ...]
    temperatures: tuple[Temperature, ...]


def diagnose(run: Run, *, superclasses: Superclasses | None = None) -> Diagnosis:
    """Diagnose a run; the last layer's norms and a file of superclasses are read from its folder where they are there.

    Args:
        run: a run.
        superclasses: a partition of its classes; None: superclasses.json in its folder, else those known by the names
            of its classes, else none.

    Raises:
        BadInput: a damaged file in the run's folder.
    """
    outcomes, num = run.outcomes, run.num_classes
    tallies = {name: _tally(outcomes, name, num) for name in _own(run)}
    order = sorted(tallies, key=lambda name: -float(tallies[name][0].sum() / tallies[name][1].sum()))
    attacks = tuple(name for name in order if name != NATURAL)
    attack = attacks[-1] if attacks else NATURAL
    hits, count = tallies[attack]
    rows = {name: outcomes.of(name) for name in tallies}
    tables = {
        name: confusion_matrix(frame["label"].to_numpy(), frame["prediction"].to_numpy(), num)
        for name, frame in rows.items()
    }
    natural, limits = np.full(num, np.nan), np.full((num, 2), np.nan)
    if NATURAL in tallies:
        natural, limits = accuracy_of(*tallies[NATURAL]), wilson(*tallies[NATURAL])
    groups = superclasses or _superclasses(run)
    known = read_classifier(run.folder, num)
    norm = None if known is None else known["weight_norm"]
    # A sweep of T has its own table; gains need the same samples.
    others = [name for name in attacks[:-1] if _family(run, name) != "tpgd"]
    paired = [name for name in others if np.array_equal(rows[name]["index"], rows[attack]["index"])]
    return Diagnosis(
        attacks=attacks,
        attack=attack,
        count=count,
        natural=natural,
        robust=accuracy_of(hits, count),
        flows=flows(tables[attack]),
        already_wrong=already_wrong(outcomes, attack, num),
        all_flows=FlowsByAttack(tables),
        superclasses=groups,
        kin=None if groups is None else superclass_share(tables[attack], groups),
        correlates=correlates(accuracy_of(hits, count), natural, limits, outcomes, norm) if attacks else (),
        classifier=_why_no_norm(known),
        rankings=tuple(
            Ranking(name, attack, order_agreement(*tallies[name], hits, count))
            for name in order
            if name in others or (name == NATURAL and attacks)
        ),
        gains=tuple(gain(outcomes, name, attack, num) for name in paired),
        temperatures=_temperatures(run, attacks, num),
    )


def compare_rankings(runs: Sequence[Run], labels: Sequence[str]) -> tuple[Ranking, ...]:
    """Return how far each pair of runs ranks the classes alike, under the strongest attack that they share.

    Each pair is labelled with `labels`. Pairs without a common attack of their own are left out.

    Raises:
        BadInput: runs of different classes.
    """
    names = {run.class_names for run in runs}
    if len(names) > 1:
        raise BadInput("rankings of classes can be compared between runs of the same classes only; these differ.")
    found = []
    for i, first in enumerate(runs):
        for j in range(i + 1, len(runs)):
            second = runs[j]
            common = [name for name in _own(first) if name in _own(second) and name != NATURAL]
            if not common:
                continue
            attack = min(reversed(common), key=lambda name: float(first.outcomes.robust(name).mean()))
            pair = [_tally(run.outcomes, attack, run.num_classes) for run in (first, second)]
            found.append(Ranking(labels[i], labels[j], order_agreement(*pair[0], *pair[1])))
    return tuple(found)


def diagnosis_json(found: Diagnosis) -> str:
    """Return the text of diagnosis.json."""
    return to_json(_plain(found))


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value.tolist() if isinstance(value, np.ndarray) else value


def _own(run: Run) -> list[str]:
    """Return natural and the attacks of their own, without a cascade's parts, in the order they were asked for."""
    names, asked = run.outcomes.attacks, list(run.record.get("attacks", {}))
    own = [name for name in names if not any(name.startswith(f"{other}/") for other in names)]
    return sorted(own, key=lambda name: (name != NATURAL, asked.index(name) if name in asked else len(asked)))


def _family(run: Run, attack: str) -> str:
    resolved = run.record.get("attacks", {}).get(attack)
    return str(resolved.get("family")) if isinstance(resolved, Mapping) else ""


def _tally(outcomes: Outcomes, attack: str, num_classes: int) -> tuple[Ints, Ints]:
    return class_tally(outcomes.labels(attack), outcomes.robust(attack), num_classes)


def _superclasses(run: Run) -> Superclasses | None:
    path = None if run.folder is None else Path(run.folder) / SUPERCLASS_FILE
    if path is not None and path.exists():
        return read_superclasses(path, run.class_names)
    return known_superclasses(run.class_names)


def _why_no_norm(known: Mapping[str, Any] | None) -> str:
    if known is None:
        return "the run was made without it; 'fairbench diagnose CHECKPOINT' adds it"
    return str(known["reason"]) if known["layer"] is None else ""


def _temperatures(run: Run, attacks: Sequence[str], num_classes: int) -> tuple[Temperature, ...]:
    """Return the sweep: each Temperature-PGD beside the PGD of the run that has the same budget."""
    resolved = run.record.get("attacks", {})

    def budget(name: str) -> tuple[object, ...]:
        return tuple(resolved[name].get(key) for key in _BUDGET)

    kinds = {name: family for name in attacks if (family := _family(run, name))}
    plain = {budget(name): name for name, family in kinds.items() if family == "pgd"}
    found = []
    for name, family in kinds.items():
        if family != "tpgd" or budget(name) not in plain:
            continue
        given = float(resolved[name]["T"])
        divisor = given if resolved[name].get("where", "divide") == "divide" else 1 / given
        found.append(Temperature(name, divisor, gain(run.outcomes, plain[budget(name)], name, num_classes)))
    return tuple(sorted(found, key=lambda one: (one.temperature, one.attack)))
