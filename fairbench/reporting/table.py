"""A table of displayed values, apart from any format: what is printed, what belongs together, which cell is best."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

Better = Literal["higher", "lower"]
#: The dash of a range.
TO = "\u2013"
#: A table by class of more rows than this may be cut for the page, to so many of its first and last rows.
MANY_ROWS, FIRST, LAST = 40, 20, 5


@dataclass(frozen=True)
class Column:
    """One column: its heading, the heading it shares with its neighbours, and which direction is better."""

    head: str
    group: str = ""
    text: bool = False
    better: Better | None = None


@dataclass(frozen=True)
class Cell:
    """One cell: the displayed text ("" is undefined), an interval in the same unit, a remark, and whether it is best.

    A remark is short text beside the value, such as the name of the worst class. A cell may be only an interval, of a
    value that stands in another column.
    """

    text: str
    low: str = ""
    high: str = ""
    remark: str = ""
    best: bool = False

    @property
    def interval(self) -> str:
        """The interval as "low–high", "" where there is none."""
        return f"{self.low}{TO}{self.high}" if self.low else ""


@dataclass(frozen=True)
class Table:
    """A table: `name` is the stem of its files; `notes` are sentences below it."""

    name: str
    caption: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    notes: tuple[str, ...] = ()

    @property
    def groups(self) -> list[tuple[str, int]]:
        """Neighbouring columns with the same group, as (group, number of columns)."""
        found: list[tuple[str, int]] = []
        for column in self.columns:
            if found and found[-1][0] == column.group and column.group:
                found[-1] = (column.group, found[-1][1] + 1)
            else:
                found.append((column.group, 1))
        return found


def shortened(table: Table) -> Table:
    """Return the first 20 and the last 5 rows of a long table, and where all of them are.

    The columns keep the values of the whole table: nothing is computed again.
    """
    if len(table.rows) <= MANY_ROWS:
        return table
    note = (
        f"The first {FIRST} and the last {LAST} of {len(table.rows):,} rows; all are in tables/{table.name}.csv beside "
        "this page."
    )
    return replace(table, rows=(*table.rows[:FIRST], *table.rows[-LAST:]), notes=(*table.notes, note))


def mark_best(columns: Sequence[Column], rows: Sequence[Sequence[Cell]]) -> tuple[tuple[Cell, ...], ...]:
    """Mark the best displayed value of each column that has a direction; ties are all marked, a single row never.

    The displayed value decides, so that two equal numbers on paper are never told apart.
    """
    marked = [list(row) for row in rows]
    for place, column in enumerate(columns):
        if column.better is None:
            continue
        values = [float(row[place].text) for row in marked if row[place].text]
        if len(values) < 2:
            continue
        best = max(values) if column.better == "higher" else min(values)
        for row in marked:
            if row[place].text and float(row[place].text) == best:
                row[place] = replace(row[place], best=True)
    return tuple(tuple(row) for row in marked)


def percent(value: float | None, digits: int = 1) -> str:
    """Return a fraction as percent without the sign ("41.1"), "" where undefined."""
    return "" if value is None else f"{100 * value + 0.0:.{digits}f}"


def number(value: float | None, digits: int = 3) -> str:
    """Return a number with fixed digits, "" where undefined."""
    return "" if value is None else f"{value + 0.0:.{digits}f}"


def percent_cell(value: float | None, interval: Sequence[float | None] | None = None, remark: str = "") -> Cell:
    """Return a cell in %, with its interval where both ends are defined."""
    if interval is None or any(end is None for end in interval):
        return Cell(percent(value), remark=remark)
    return Cell(percent(value), percent(interval[0]), percent(interval[1]), remark)
