"""Two runs on the same images: per-class tests, intervals for every change, and one plain sentence.

The sentence is about two checkpoints on these images. A sentence about two *methods* needs several seeds of each:
see `seeds`. Differences are after - before. Shape key: K classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from fairbench.errors import BadInput
from fairbench.metrics.classwise import Floats
from fairbench.metrics.comparable import common_attacks
from fairbench.metrics.difference import normalized_std_difference, std_difference, worst_class_difference
from fairbench.metrics.paired import Difference, PairedCounts, average_difference, holm, mcnemar, mcnemar_one_sided
from fairbench.outcomes import NATURAL
from fairbench.runs import Run

__all__ = [
    "AttackComparison",
    "Comparison",
    "Difference",
    "PairedCounts",
    "compare_runs",
    "holm",
    "mcnemar",
    "mcnemar_one_sided",
]

ALPHA = 0.05
_NAMED = 4


@dataclass(frozen=True)
class AttackComparison:
    """One attack in both runs.

    Attributes:
        attack: its name.
        pairs: the (K,) paired counts.
        p: (K,) two-sided exact McNemar p-values; NaN for an absent class.
        p_holm: the same, adjusted over the classes.
        average, worst_class, std, normalized_std: how each changed, with 95 % intervals.
    """

    attack: str
    pairs: PairedCounts
    p: Floats
    p_holm: Floats
    average: Difference
    worst_class: Difference
    std: Difference
    normalized_std: Difference

    @property
    def changed(self) -> tuple[list[int], list[int]]:
        """The classes that are more robust, and those that are less, after Holm's correction at 5 %."""
        found = np.flatnonzero(self.p_holm < ALPHA)
        grown = self.pairs.gained > self.pairs.lost
        return [int(c) for c in found if grown[c]], [int(c) for c in found if not grown[c]]


@dataclass(frozen=True)
class Comparison:
    """Two runs, compared attack by attack; `headline` is the attack that the sentence is about."""

    before: str
    after: str
    class_names: tuple[str, ...]
    attacks: tuple[AttackComparison, ...]
    headline: AttackComparison
    sentence: str


def compare_runs(before: Run, after: Run) -> Comparison:
    """Compare two runs of the same samples, threat, attacks and protocol, on their common attacks.

    A cascade's cumulative parts are left out; the headline is the attack with the lowest average over both runs.

    Raises:
        NotComparable: the runs do not answer the same question.
        BadInput: a run record without class names.
    """
    common = common_attacks(before, after)
    names = _class_names(before)
    whole = [name for name in common if not any(name.startswith(f"{other}/") for other in common)]
    attacks = tuple(_one_attack(before, after, name, len(names)) for name in whole)
    own = [found for found in attacks if found.attack != NATURAL] or list(attacks)
    headline = min(reversed(own), key=_average)
    return Comparison(before.name, after.name, names, attacks, headline, _sentence(headline, names))


def _class_names(run: Run) -> tuple[str, ...]:
    found = run.record.get("dataset")
    names = found.get("class_names") if isinstance(found, Mapping) else None
    if not isinstance(names, (list, tuple)) or not names:
        raise BadInput(
            f"the run record of {run.name[:80]!r} names no classes; restore its run.json, or evaluate again."
        )
    return tuple(str(name) for name in names)


def _one_attack(before: Run, after: Run, attack: str, num_classes: int) -> AttackComparison:
    labels = before.outcomes.labels(attack)
    verdicts = before.outcomes.robust(attack), after.outcomes.robust(attack)
    pairs = PairedCounts.of(labels, *verdicts, num_classes)
    p = np.array(
        [
            mcnemar(int(lost), int(gained)) if count else np.nan
            for count, lost, gained in zip(pairs.count, pairs.lost, pairs.gained, strict=True)
        ]
    )
    return AttackComparison(
        attack, pairs, p, holm(p), average_difference(pairs), worst_class_difference(pairs), std_difference(pairs),
        normalized_std_difference(pairs),
    )  # fmt: skip


def _average(found: AttackComparison) -> float:
    pairs = found.pairs
    return float((2 * pairs.both + pairs.lost + pairs.gained).sum() / (2 * pairs.count.sum()))


def _sentence(found: AttackComparison, names: tuple[str, ...]) -> str:
    """Say what these images decide about B (after) against A (before), and what they do not."""
    how = "Without an attack" if found.attack == NATURAL else f"Under {found.attack}"
    where = f"{how}, on the same {found.pairs.count.sum():,} images, B against A"
    if not (found.pairs.lost.any() or found.pairs.gained.any()):
        return (
            f"{where}: not one verdict differs, so these images cannot tell them apart, which is no proof that "
            "others could not."
        )
    said, unsaid = [], []
    for what, change, words in (
        ("the average", found.average, ("higher", "lower")),
        ("the worst class", found.worst_class, ("higher", "lower")),
        ("the spread over classes (std)", found.std, ("larger", "smaller")),
    ):
        if change.decided:
            amount = f"{100 * abs(change.value):.1f} points"
            said.append(f"{what} is {amount} {words[0] if change.value > 0 else words[1]} ({_range(change)})")
        else:
            unsaid.append(f"{what} ({_range(change)})")
    better, worse = found.changed
    if better:
        said.append(f"more robust in {_list(better, names)}")
    if worse:
        said.append(f"less robust in {_list(worse, names)}")
    if not better and not worse:
        unsaid.append("any single class")
    can = "; ".join(said) if said else "nothing can be said for sure"
    cannot = f"; not decided: {', '.join(unsaid)}" if unsaid else ""
    return (
        f"{where} (95 % intervals in points): {can}{cannot}; this is about two checkpoints; "
        "only several seeds can tell about their methods."
    )


def _range(change: Difference) -> str:
    return f"{100 * change.low:+.1f} to {100 * change.high:+.1f}"


def _list(classes: list[int], names: tuple[str, ...]) -> str:
    listed = ", ".join(f"“{names[c]}”" for c in classes[:_NAMED])
    return listed if len(classes) <= _NAMED else f"{listed} and {len(classes) - _NAMED} more classes"
