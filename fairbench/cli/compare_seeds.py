"""`fairbench compare --also`: the same two methods under more seeds, by the t interval over per-seed differences."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from fairbench.metrics.classwise import normalized_std, std, worst_class_accuracy
from fairbench.metrics.compare import Comparison, compare_runs
from fairbench.metrics.paired import PairedCounts
from fairbench.metrics.seed_pairs import refuse_unlike
from fairbench.metrics.seeds import seed_interval
from fairbench.reporting.table import Cell, Column, Table

if TYPE_CHECKING:
    from fairbench.runs import Run


def compare_pairs(pairs: Sequence[tuple[Run, Run]]) -> list[Comparison]:
    """Compare each pair of runs, one pair per seed, all of them with the first.

    Raises:
        NotComparable: runs that do not answer the same question.
        BadInput: pairs that are not two methods under several seeds, see `refuse_unlike`.
    """
    refuse_unlike(pairs)
    for before, after in pairs[1:]:
        compare_runs(pairs[0][0], before)
        compare_runs(pairs[0][1], after)
    return [compare_runs(before, after) for before, after in pairs]


def seed_tables(found: Sequence[Comparison]) -> tuple[list[str], list[Table]]:
    """Return a sentence for the worst class and the average under the headline attack, and a table per attack."""
    names = [attack.attack for attack in found[0].attacks]
    common = [name for name in names if all(name in {attack.attack for attack in one.attacks} for one in found)]
    said, tables = [], []
    for name in common:
        pairs = [next(attack.pairs for attack in one.attacks if attack.attack == name) for one in found]
        rows = []
        for what, metric in METRICS:
            before, after = ([metric(counts, side) for counts in pairs] for side in (False, True))
            change = seed_interval(after, before)
            rows.append(
                (
                    Cell(what), Cell(_points(sum(before) / len(before))), Cell(_points(sum(after) / len(after))),
                    Cell(f"{100 * change.mean:+.1f}"), Cell(f"{100 * change.low:+.1f} to {100 * change.high:+.1f}"),
                    Cell("decided" if change.decided else "not decided"),
                )
            )  # fmt: skip
            if name == found[0].headline.attack and what in _SAID:
                said.append(change.sentence(f"{_SAID[what]} under {name}"))
        heads = ("A, mean", "B, mean", "B - A", "95 % t interval")
        columns = (Column("", text=True), *(Column(head) for head in heads), Column("sign", text=True))
        tables.append(Table(f"seeds-{name}", f"{name}: over {len(found)} seeds", columns, tuple(rows)))
    return said, tables


def _average(pairs: PairedCounts, after: bool) -> float:
    hits = pairs.both + (pairs.gained if after else pairs.lost)
    return float(hits.sum() / pairs.count.sum())


#: (what, its value from paired counts before or after), in the order of the tables over all classes.
METRICS: tuple[tuple[str, Callable[[PairedCounts, bool], float]], ...] = (
    ("average %", _average),
    ("worst class %", lambda pairs, after: worst_class_accuracy(pairs.after if after else pairs.before)),
    ("std, points", lambda pairs, after: std(pairs.after if after else pairs.before)),
    ("std / mean (NSD), %", lambda pairs, after: normalized_std(pairs.after if after else pairs.before)),
)
_SAID = {"worst class %": "the worst class", "average %": "the average"}


def _points(value: float) -> str:
    return f"{100 * value:.1f}"
