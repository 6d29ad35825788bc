"""The removal experiment as a table and a sentence."""

from __future__ import annotations

import math
from collections.abc import Sequence

from fairbench.metrics.removal import Remaining, Removal
from fairbench.reporting.table import Cell, Column, Table, percent
from fairbench.reporting.words import listed


def removal_table(found: Removal, names: Sequence[str]) -> Table:
    """Return rows = true classes and all of them; columns = samples, and the share that is still not robust."""
    control = found.rows[-1].control is not None
    columns = (
        Column("true class", text=True), Column("went there"), Column("still broken without it %"),
        *((Column("in the control %"),) if control else ()), Column("went elsewhere"), Column("of those still %"),
    )  # fmt: skip
    rows = []
    for row in found.rows:
        cells = [
            Cell("all" if row.label is None else names[row.label]), Cell(str(row.went.count)), _share(row.went),
        ]  # fmt: skip
        if row.control is not None:
            cells.append(_share(row.control))
        rows.append((*cells, Cell(str(row.elsewhere.count)), _share(row.elsewhere)))
    gone = listed([f"“{names[c]}”" for c in found.removed])
    notes = [
        f"Samples that the full network classifies right and {found.attack} sends to {gone}, and what becomes of the "
        "same samples in a network trained without. Wilson's 95 % intervals; one training each, so that the control "
        "shows what another training does by itself."
    ]
    runs = f"The network trained without is the run “{found.without}”"
    notes.append(f"{runs}, the control “{found.control}”." if found.control is not None else f"{runs}.")
    if found.left_out:
        without = listed([f"“{names[c]}”" for c in found.left_out])
        notes.append(f"Samples of {without}, which the control does not have, are not counted.")
    return Table("removal", f"Removal of {gone}", columns, tuple(rows), tuple(notes))


def removal_sentence(found: Removal, names: Sequence[str]) -> str:
    """Return what the experiment shows and does not."""
    total = found.rows[-1]
    gone = listed([f"“{names[c]}”" for c in found.removed])
    if not total.went.count:
        return f"Under {found.attack} no sample that was right went to {gone}, so there is nothing to follow."
    text = (
        f"Of {total.went.count} samples that {found.attack} sent to {gone}, {total.went.broken} are still not robust "
        f"in the network without ({_limits(total.went)})"
    )
    if total.control is None:
        return f"{text}; without a control (--control) this may be nothing but another training."
    decided = not math.isnan(found.p) and found.p < 0.05
    chance = "<\u00a00.001" if found.p < 0.001 else f"{found.p:.3f}"
    return (
        f"{text}, and {total.control.broken} in the control ({_limits(total.control)}): the two networks "
        f"{'differ' if decided else 'cannot be told apart'} on them (exact McNemar p {chance})."
    )


def _share(part: Remaining) -> Cell:
    if math.isnan(part.share):
        return Cell("")
    return Cell(percent(part.share), percent(part.interval[0]), percent(part.interval[1]))


def _limits(part: Remaining) -> str:
    return f"{percent(part.share)} %, 95 % interval {percent(part.interval[0])} to {percent(part.interval[1])}"
