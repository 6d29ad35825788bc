"""The table of `fairbench check`: each flag with its evidence and what to do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fairbench.reporting.table import Cell, Column, Table
from fairbench.reporting.table_formats import plain


def check_table(flags: Sequence[Mapping[str, Any]], class_names: Sequence[str], left_out: Mapping[str, str]) -> Table:
    """Return the flags of a check, with a note for each probe that did not run.

    Args:
        flags: {name, severity, class, evidence, advice}.
        class_names: K names.
        left_out: probe -> why.
    """
    columns = tuple(Column(head, text=True) for head in ("flag", "class", "evidence", "what to do"))
    rows = tuple(
        (
            Cell(plain(str(flag["name"])) + (" (accepted)" if flag["severity"] == "accepted" else "")),
            Cell("all" if flag["class"] is None else plain(class_names[flag["class"]])),
            Cell(plain(str(flag["evidence"]))),
            Cell(plain(str(flag["advice"]))),
        )
        for flag in flags
    )
    notes = tuple(f"not evaluated: {probe} ({why})" for probe, why in left_out.items())
    return Table("check", "Flags", columns, rows, notes)
