from __future__ import annotations

import pytest

from fairbench.reporting.table import Cell, Column, Table, mark_best, number, percent, percent_cell, shortened

COLUMNS = (Column("m", text=True), Column("up", better="higher"), Column("down", better="lower"), Column("neither"))


def _row(*texts: str) -> list[Cell]:
    return [Cell(text) for text in texts]


def test_the_best_of_each_direction_is_marked_and_ties_are_all_marked() -> None:
    rows = mark_best(
        COLUMNS, [_row("a", "1.0", "3.0", "1"), _row("b", "2.0", "3.0", "2"), _row("c", "2.0", "4.0", "3")]
    )
    assert [[cell.best for cell in row] for row in rows] == [
        [False, False, True, False],
        [False, True, True, False],
        [False, True, False, False],
    ]


def test_a_single_row_is_never_best_and_undefined_is_never_best() -> None:
    assert not any(cell.best for cell in mark_best(COLUMNS, [_row("a", "1.0", "2.0", "3")])[0])
    rows = mark_best(COLUMNS, [_row("a", "", "", ""), _row("b", "1.0", "", ""), _row("c", "0.5", "1.0", "")])
    assert [[cell.best for cell in row] for row in rows] == [[False] * 4, [False, True, False, False], [False] * 4]


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.41149, "41.1"), (1.0, "100.0"), (None, ""), (-0.0, "0.0"), (0.0004, "0.0"), (0.0005001, "0.1")],
)
def test_fractions_become_percent(value: float | None, text: str) -> None:
    assert percent(value) == text


def test_undefined_numbers_are_empty() -> None:
    assert (number(None), number(0.12345)) == ("", "0.123")
    assert percent_cell(0.5, [0.25, None]) == Cell("50.0")
    assert percent_cell(0.5, [0.25, 0.75], "cat") == Cell("50.0", "25.0", "75.0", "cat")


def test_neighbouring_columns_share_a_heading() -> None:
    columns = (
        Column("model"),
        Column("avg", "fgsm"),
        Column("worst", "fgsm"),
        Column("avg", "aa"),
        Column("x"),
        Column("y"),
    )
    assert Table("t", "c", columns, ()).groups == [("", 1), ("fgsm", 2), ("aa", 1), ("", 1), ("", 1)]


def test_a_long_table_keeps_its_first_and_last_rows_and_says_where_all_are() -> None:
    def table(rows: int) -> Table:
        return Table("run-why", "c", (Column("class"),), tuple((Cell(str(i)),) for i in range(rows)), ("n",))

    assert shortened(table(40)) == table(40)
    cut = shortened(table(1_000))
    assert [row[0].text for row in cut.rows] == [str(i) for i in [*range(20), *range(995, 1_000)]]
    assert cut.notes == (
        "n",
        "The first 20 and the last 5 of 1,000 rows; all are in tables/run-why.csv beside this page.",
    )
