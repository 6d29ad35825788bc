"""What an adjustment of logits did, before and after, class by class."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fairbench.metrics.compare import Comparison
from fairbench.reporting.table import Cell, Column, Table, number, percent


def mitigation_table(found: Comparison, offsets: Sequence[float]) -> Table:
    """Return rows = classes and, below them, the average; columns = offset and each attack before, after and change."""
    columns = [Column("class", text=True), Column("offset")]
    for attack in found.attacks:
        columns += [Column(head, attack.attack) for head in ("before %", "after %", "change", "p (Holm)")]
    rows = []
    for c, name in enumerate(found.class_names):
        row = [Cell(name), Cell(number(offsets[c]))]
        for attack in found.attacks:
            pairs = attack.pairs
            row += (
                [
                    Cell(percent(float(pairs.before[c]))), Cell(percent(float(pairs.after[c]))),
                    Cell(f"{100 * (pairs.after[c] - pairs.before[c]):+.1f}"), Cell(_p(float(attack.p_holm[c]))),
                ]
                if pairs.count[c]
                else [Cell("")] * 4
            )  # fmt: skip
        rows.append(tuple(row))
    for label, change in (("average", "average"), ("worst class", "worst_class")):
        row = [Cell(label), Cell("")]
        for attack in found.attacks:
            pairs, difference = attack.pairs, getattr(attack, change)
            if change == "average":
                total = pairs.count.sum()
                before, after = (pairs.both + pairs.lost).sum() / total, (pairs.both + pairs.gained).sum() / total
            else:
                before, after = np.nanmin(pairs.before), np.nanmin(pairs.after)
            low, high = (f"{100 * value:+.1f}" for value in (difference.low, difference.high))
            row += [
                Cell(percent(float(before))), Cell(percent(float(after))),
                Cell(f"{100 * difference.value:+.1f}", low, high), Cell(""),
            ]  # fmt: skip
        rows.append(tuple(row))
    notes = (
        "After is the adjusted network, attacked anew. Changes in points, with 95 % intervals from the same images for "
        "average and worst class; p: exact McNemar, Holm over classes.",
    )
    return Table("mitigation", "Before and after the adjustment of logits", tuple(columns), tuple(rows), notes)


def _p(value: float) -> str:
    return number(value) if value >= 0.001 else "<0.001"
