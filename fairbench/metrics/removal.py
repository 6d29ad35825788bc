"""The removal experiment: does a sample still have an adversarial counterpart when the class it went to is gone?

A network is trained again without some classes (`fairbench train --drop-classes`). The samples in question are those
that the full network classifies right and the attack sends to one of these classes. What becomes of them is laid beside
the samples that went elsewhere, and beside a control network that was trained without *other* classes, since training
again changes verdicts by itself.

Shape key: N samples, K classes of the full run.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from fairbench.errors import BadInput, NotComparable
from fairbench.metrics.binomial import wilson
from fairbench.metrics.comparable import resolved_difference
from fairbench.metrics.paired import mcnemar
from fairbench.outcomes import NATURAL
from fairbench.runs import Run


@dataclass(frozen=True)
class Remaining:
    """What becomes of some samples: how many there are, and how many of them are still not robust.

    Attributes:
        count: samples.
        broken: those that are not robust in the other run, whatever they are taken for.
        share: broken / count; NaN without samples.
        interval: Wilson's 95 % limits of the share.
    """

    count: int
    broken: int
    share: float
    interval: tuple[float, float]


@dataclass(frozen=True)
class SourceRow:
    """One true class (None: all of them).

    Attributes:
        label: the class's original number.
        went: samples that the full run classifies right and the attack sends to a removed class, in the run without it.
        elsewhere: samples that it sends to another class, in that run.
        control: the samples of `went`, in the control run; None without one.
    """

    label: int | None
    went: Remaining
    elsewhere: Remaining
    control: Remaining | None


@dataclass(frozen=True)
class Removal:
    """The whole experiment.

    Attributes:
        attack: the attack.
        removed: the classes that are gone, by original number.
        left_out: classes that the control does not have: their samples are not counted at all.
        rows: by true class; the last one is over all.
        p: of the last row, the run without the classes against the control (exact McNemar); NaN without a control.
        without: the name of the run without the classes.
        control: the name of the control run; None without one.
    """

    attack: str
    removed: tuple[int, ...]
    left_out: tuple[int, ...]
    rows: tuple[SourceRow, ...]
    p: float
    without: str
    control: str | None


def removal(full: Run, without: Run, control: Run | None = None) -> Removal:
    """Lay a full run beside one without some classes, and a control without others, under the strongest common attack.

    Raises:
        NotComparable: another data set, class names, threat, protocol or attack; a run that misses samples of its
            classes, or a control without one of the removed classes.
        BadInput: a run that leaves out no class, or one that was trained as a control of others.
    """
    runs = [full, without, *([control] if control is not None else [])]
    removed = _removed(without)
    _check_roles(without, control, {full.class_names[c] for c in removed})
    for other in runs[1:]:
        _check(full, other)
    common = [name for name in full.outcomes.attacks if all(name in run.outcomes.attacks for run in runs)]
    attacks = [name for name in common if name != NATURAL and "/" not in name]
    if not attacks or NATURAL not in common:
        raise NotComparable(
            "the removal experiment needs natural rows and one attack that all runs have; evaluate alike."
        )
    attack = min(attacks, key=lambda name: (float(full.outcomes.robust(name).mean()), name))
    for other in runs[1:]:
        difference = resolved_difference(other.record, full.record, attack)
        if difference is not None:
            raise NotComparable(
                f"the runs are not comparable: {attack!r} stands for different keywords ({difference})."
            )
    natural = full.outcomes.of(NATURAL).set_index("index")
    right = (natural["prediction"] == natural["label"]).to_dict()
    rows = full.outcomes.of(attack).set_index("index")
    was_right = np.array([right.get(index, False) for index in rows.index], dtype=bool)
    moved = rows[was_right & (rows["prediction"] != rows["label"]).to_numpy()]
    lacking = () if control is None else _removed(control)
    if set(lacking) & set(removed):
        names = ", ".join(full.class_names[c] for c in sorted(set(lacking) & set(removed)))
        raise NotComparable(f"a control leaves out other classes than the experiment, but it leaves out {names}, too.")
    moved = moved[~moved["label"].isin([*removed, *lacking])]
    gone = moved["prediction"].isin(removed)
    went, elsewhere = moved[gone], moved[~gone]
    after = _broken(without, attack)
    beside = None if control is None else _broken(control, attack)
    found = []
    for label in [*sorted(went["label"].unique().tolist()), None]:
        mine, theirs = (part if label is None else part[part["label"] == label] for part in (went, elsewhere))
        found.append(
            SourceRow(
                None if label is None else int(label),
                _remaining(after, mine.index),
                _remaining(after, theirs.index),
                None if beside is None else _remaining(beside, mine.index),
            )
        )
    p = np.nan
    if beside is not None and len(went):
        first, second = (_at(table, went.index) for table in (beside, after))
        p = mcnemar(int((~first & second).sum()), int((first & ~second).sum()))
    return Removal(
        attack, removed, lacking, tuple(found), float(p), without.name, None if control is None else control.name
    )


def _check_roles(without: Run, control: Run | None, removed: set[str]) -> None:
    """Refuse runs that were trained for another place in the experiment; a run may also not say what it is for."""
    meant = without.record.get("model", {}).get("control_of")
    if meant is not None:
        raise BadInput(
            f"the run {without.name[:80]!r} is a control of the removal of {', '.join(meant)[:80]}; give it with "
            "--control, and as --removed the run of a network that 'fairbench train --drop-classes' trained."
        )
    meant = None if control is None else control.record.get("model", {}).get("control_of")
    if control is not None and meant is not None and set(meant) != removed:
        raise NotComparable(
            f"the run {control.name[:80]!r} is a control of the removal of {', '.join(meant)[:80]}, but removed are "
            f"{', '.join(sorted(removed))[:80]}."
        )


def _removed(run: Run) -> tuple[int, ...]:
    kept = run.record["dataset"].get("kept_classes")
    if not isinstance(kept, list):
        raise BadInput(
            f"the run {run.name[:80]!r} leaves out no class; give the run of a network that "
            "'fairbench train --drop-classes' trained."
        )
    return tuple(c for c in range(run.num_classes) if c not in kept)


def _check(full: Run, other: Run) -> None:
    def question(record: Mapping[str, Any]) -> dict[str, Any]:
        data, threat = record["dataset"], record["threat"]
        return {
            "the training method": record.get("model", {}).get("method"),
            "the data set": (data["name"], data["split"]), "the classes": tuple(data["class_names"]),
            "the norm": threat["norm"], "eps": threat["eps"], "the protocol version": record.get("protocol"),
        }  # fmt: skip

    mine, theirs = question(full.record), question(other.record)
    for what, value in mine.items():
        if value != theirs[what]:
            raise NotComparable(
                f"the runs {full.name!r} and {other.name!r} are not comparable: they differ in {what} "
                f"({str(value)[:80]} against {str(theirs[what])[:80]}); evaluate both in the same way."
            )
    wanted = full.outcomes.of(NATURAL).set_index("index")["label"] if NATURAL in full.outcomes.attacks else None
    found = other.outcomes.of(other.outcomes.attacks[0]).set_index("index")["label"]
    gone = _removed(other)
    if wanted is not None and not wanted[~wanted.isin(gone)].equals(found.sort_index()):
        raise NotComparable(
            f"the run {other.name!r} must hold the samples of {full.name!r} but for its removed classes; "
            "evaluate both on the same samples (--samples-per-class)."
        )


def _broken(run: Run, attack: str) -> pd.Series[bool]:
    rows = run.outcomes.of(attack).set_index("index")
    return rows["prediction"] != rows["label"]


def _at(table: pd.Series[bool], index: pd.Index[Any]) -> npt.NDArray[np.bool_]:
    return np.asarray(table.reindex(index).to_numpy(), dtype=bool)


def _remaining(table: pd.Series[bool], index: pd.Index[Any]) -> Remaining:
    broken, count = int(_at(table, index).sum()), len(index)
    low, high = wilson(broken, count)
    return Remaining(count, broken, broken / count if count else np.nan, (float(low), float(high)))
