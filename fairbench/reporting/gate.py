"""Two questions about a run and its baseline: did the model get worse, and did the evaluation drift?

`regression` looks at one model after another on the same images: the average, and the worst class of either run, may
drop by so many percentage points; a larger drop fails where the one-sided exact McNemar test on those images gives
p < 0.05. `same` looks at one model evaluated twice: the share of verdicts that flipped in either direction is bounded,
since a robust accuracy that rises for no reason is as wrong as one that falls.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from fairbench.errors import BadInput
from fairbench.metrics.comparable import common_attacks
from fairbench.metrics.compare import mcnemar_one_sided
from fairbench.reporting.attack_names import top_level
from fairbench.reporting.class_labels import beside_number
from fairbench.reporting.flags import raised_flags
from fairbench.reporting.table import Cell, Column, Table
from fairbench.runs import Run

ALPHA = 0.05
UNCORRECTED_NOTE = (
    "Each p is of its check alone: unlike 'compare' (Holm), the gate does not correct for the number of checks, "
    "because a check also needs a drop beyond its limit to fail, and a missed regression costs more than a second "
    "look. It asks whether it got worse (one side at 5 %), 'compare' whether anything changed (both sides, 2.5 % each)."
)
Verdicts = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Check:
    """One comparison on one set of images. `lost` were robust only in the baseline, `gained` only in the run."""

    attack: str
    scope: str
    count: int
    baseline_robust: int
    robust: int
    lost: int
    gained: int
    limit: str
    p: float | None
    failed: bool


@dataclass(frozen=True)
class GateResult:
    """What the gate found: every check, whether all passed, one sentence, and the attacks in only one of the runs."""

    checks: tuple[Check, ...]
    passed: bool
    sentence: str
    not_compared: tuple[str, ...]


def regression(run: Run, baseline: Run, *, max_drop: float = 1.0, max_worst_drop: float = 3.0) -> GateResult:
    """Check that `run`'s model is not worse than `baseline`'s; limits in percentage points.

    A drop must exceed its limit (compared as exact fractions) and be significant to fail. Cumulative parts of a cascade
    are left out: only the whole cascade is a verdict on a model.

    Raises:
        NotComparable: the runs do not answer the same question.
        BadInput: a limit outside [0, 100].
    """
    for name, limit in (("--max-drop", max_drop), ("--max-worst-drop", max_worst_drop)):
        if not 0 <= limit <= 100:
            raise BadInput(f"{name} is in percentage points and must lie in [0, 100], but is {limit}.")
    checks: list[Check] = []
    common = top_level(common_attacks(run, baseline))
    for attack in common:
        before, after = baseline.outcomes.robust(attack), run.outcomes.robust(attack)
        labels = run.outcomes.labels(attack)
        checks.append(_drop(attack, "average", before, after, max_drop))
        for index in sorted({_worst(labels, before), _worst(labels, after)}):
            rows = labels == index
            checks.append(_drop(attack, run.class_names[index], before[rows], after[rows], max_worst_drop))
    failed = [check for check in checks if check.failed]
    skipped = _not_compared(run, baseline)
    if failed:
        worst = max(failed, key=lambda check: Fraction(check.lost - check.gained, check.count))
        what = "average" if worst.scope == "average" else f"class {worst.scope!r}"
        sentence = (
            f"Regression: {len(failed)} of {len(checks)} checks failed; the largest drop is {_points(worst)} points "
            f"under {worst.attack} ({what}: {worst.lost} of {worst.count} images lost, {worst.gained} gained, "
            f"p = {worst.p:.2g})."
        )
    else:
        sentence = (
            f"No regression: none of {len(checks)} checks over {', '.join(common)} found a drop beyond its limit "
            f"({max_drop:g} points on average, {max_worst_drop:g} in the worst class) with p < {ALPHA}."
        )
    return GateResult(tuple(checks), not failed, sentence, skipped)


def same(run: Run, baseline: Run, *, max_flips: float = 0.005) -> GateResult:
    """Check that two evaluations of one model agree: at most the share `max_flips` of each attack's verdicts differ.

    Every common attack counts by itself, natural and the parts of a cascade included. The share is of whole verdicts:
    below 200 images the default allows none, and a single flip fails.

    Raises:
        NotComparable: the runs do not answer the same question.
        BadInput: a share outside [0, 1].
    """
    if not 0 <= max_flips <= 1:
        raise BadInput(f"--max-flips is a share and must lie in [0, 1], such as 0.005, but is {max_flips}.")
    checks = []
    share = Fraction(str(max_flips))
    for attack in common_attacks(run, baseline):
        before, after = baseline.outcomes.robust(attack), run.outcomes.robust(attack)
        lost, gained = int((before & ~after).sum()), int((~before & after).sum())
        allowed = math.floor(share * len(after))
        checks.append(
            Check(attack, "flips", len(after), int(before.sum()), int(after.sum()), lost, gained,
                  f"{100 * max_flips:g} % ({allowed} of {len(after)})", None, lost + gained > allowed)
        )  # fmt: skip
    flips, rows = sum(check.lost + check.gained for check in checks), sum(check.count for check in checks)
    broken = [check for check in checks if check.failed]
    if broken:
        worst = max(broken, key=lambda check: Fraction(check.lost + check.gained, check.count))
        sentence = (
            f"The evaluation drifted: {worst.lost + worst.gained} of {worst.count} verdicts of {worst.attack} flipped "
            f"({worst.lost} robust only in the baseline, {worst.gained} only in the run), "
            f"more than {100 * max_flips:g} %."
        )
    else:
        sentence = (
            f"The same: {flips} of {rows} verdicts over {len(checks)} attacks flipped, at most {100 * max_flips:g} % "
            f"of any attack's{_none_allowed(checks, share)}."
        )
    changed = _other_model(run, baseline)
    if changed is not None:
        sentence += f" {changed}, so that the model may have changed, not the evaluation."
    return GateResult(tuple(checks), not broken, sentence, _not_compared(run, baseline))


def _other_model(run: Run, baseline: Run) -> str | None:
    """Return in words what says that two runs are of two models; None where nothing does."""
    for key, words in (
        ("sha256", "The checkpoints are two different files"), ("architecture", "The architectures differ"),
        ("source_sha256", "The code behind --model differs"),
    ):  # fmt: skip
        if run.record["model"].get(key) != baseline.record["model"].get(key):
            return words
    return None


def new_flags(run: Run, baseline: Run) -> str | None:
    """Return a sentence about signs of masked gradients that the run shows and its baseline does not."""
    before = {flag.get("name") for flag in raised_flags(baseline.record)}
    found = [flag for flag in raised_flags(run.record) if flag.get("name") not in before]
    if not found:
        return None
    told = "; ".join(f"{name} ({evidence})" for name, evidence in {
        str(flag.get("name")): flag.get("evidence") for flag in reversed(found)
    }.items())  # fmt: skip
    return (
        f"Flagged, and the baseline was not: {told}. The run's robust accuracies may be too good; no check tests that."
    )


def gate_table(result: GateResult) -> Table:
    """Return the checks as a table: accuracies in %, drop in points (positive is worse)."""
    columns = (
        Column("attack", text=True), Column("images of", text=True), Column("n"), Column("baseline %"), Column("run %"),
        Column("drop"), Column("lost"), Column("gained"), Column("limit"), Column("p"), Column("verdict", text=True),
    )  # fmt: skip
    rows = tuple(
        (
            Cell(check.attack),
            Cell("all classes" if check.scope in ("average", "flips") else beside_number(check.scope)),
            Cell(str(check.count)), Cell(f"{100 * check.baseline_robust / check.count:.2f}"),
            Cell(f"{100 * check.robust / check.count:.2f}"), Cell(_points(check)), Cell(str(check.lost)),
            Cell(str(check.gained)), Cell(check.limit), Cell("" if check.p is None else f"{check.p:.2g}"),
            Cell("FAIL" if check.failed else "ok"),
        )
        for check in result.checks
    )  # fmt: skip
    notes = (UNCORRECTED_NOTE,) if any(check.p is not None for check in result.checks) else ()
    return Table("gate", "Gate", columns, rows, notes)


def _drop(attack: str, scope: str, before: Verdicts, after: Verdicts, limit: float) -> Check:
    lost, gained = int((before & ~after).sum()), int((~before & after).sum())
    p = mcnemar_one_sided(lost, gained)
    failed = Fraction(100 * (lost - gained), len(after)) > Fraction(str(limit)) and p < ALPHA
    return Check(attack, scope, len(after), int(before.sum()), int(after.sum()), lost, gained, f"{limit:g}", p, failed)


def _worst(labels: npt.NDArray[np.int32], robust: Verdicts) -> int:
    """Return the class of the lowest accuracy among those present; the first of several."""
    present = np.unique(labels)
    return int(min(present, key=lambda index: (float(robust[labels == index].mean()), index)))


def _none_allowed(checks: Sequence[Check], share: Fraction) -> str:
    """Return the end of a sentence that says where a share of so few verdicts is none at all."""
    fewest = min(check.count for check in checks)
    return f" (of {fewest} that is none)" if 0 < share < Fraction(1, fewest) else ""


def _points(check: Check) -> str:
    return f"{100 * (check.lost - check.gained) / check.count:.2f}"


def _not_compared(run: Run, baseline: Run) -> tuple[str, ...]:
    return tuple(sorted(set(run.outcomes.attacks) ^ set(baseline.outcomes.attacks)))
