"""Exact text from hand-made cells, and names that try to be more than text."""

from __future__ import annotations

import csv
import io

import pytest

from fairbench.reporting.table import Cell, Column, Table
from fairbench.reporting.table_formats import (
    latex_escape,
    markdown_escape,
    plain,
    to_csv,
    to_latex,
    to_markdown,
    to_text,
)

TABLE = Table(
    "comparison",
    "toy, 8/255",
    (Column("Model", text=True), Column("Avg", "pgd20", better="higher"), Column("SD", "pgd20", better="lower")),
    (
        (Cell("sat"), Cell("52.1", "50.0", "54.2", best=True), Cell("12.0")),
        (Cell("trades_2"), Cell("51.0", "49.0", "53.0", "cat"), Cell("")),
    ),
    ("A note.",),
)


def test_csv() -> None:
    assert to_csv(TABLE) == (
        "Model,pgd20 Avg,pgd20 Avg low,pgd20 Avg high,pgd20 Avg remark,pgd20 SD\n"
        "sat,52.1,50.0,54.2,,12.0\n"
        "trades_2,51.0,49.0,53.0,cat,\n"
    )


def test_markdown() -> None:
    assert to_markdown(TABLE) == (
        "**toy, 8/255**\n\n"
        "| Model | pgd20 Avg ↑ | pgd20 SD ↓ |\n"
        "|---|--:|--:|\n"
        "| sat | **52.1 (50.0\u201354.2)** | 12.0 |\n"
        "| trades\\_2 | 51.0 cat (49.0\u201353.0) | \u2013 |\n\n"
        "A note.\n"
    )


def test_latex() -> None:
    assert to_latex(TABLE) == (
        "% needs \\usepackage{booktabs}\n"
        "\\begin{table}\n\\centering\n"
        "\\caption{toy, 8/255. A note.}\n"
        "\\begin{tabular}{lrr}\n\\toprule\n"
        " & \\multicolumn{2}{c}{pgd20} \\\\\n"
        "\\cmidrule(lr){2-3}\n"
        "Model & Avg $\\uparrow$ & SD $\\downarrow$ \\\\\n\\midrule\n"
        "sat & \\textbf{52.1 (50.0--54.2)} & 12.0 \\\\\n"
        "trades\\_2 & 51.0 cat (49.0--53.0) & -- \\\\\n"
        "\\bottomrule\n\\end{tabular}\n\\end{table}\n"
    )


def test_text() -> None:
    """Compared word by word: how wide rich sets its columns is rich's business."""
    lines = [line.split() for line in to_text(TABLE, 80).splitlines() if line.strip("─ ")]
    assert lines == [
        ["toy,", "8/255"],
        ["pgd20", "pgd20"],
        ["Model", "Avg", "↑", "SD", "↓"],
        ["sat", "52.1", "(50.0\u201354.2)", "12.0"],
        ["trades_2", "51.0", "cat", "(49.0\u201353.0)", "\u2013"],
        ["A", "note."],
    ]


@pytest.mark.parametrize("name", ["=1+1", "+1", "-1", "@SUM(A1)", "  =1", "\t=1", "\r=1", "\uff1d1"])
def test_a_csv_name_is_never_a_formula(name: str) -> None:
    table = Table("t", "c", (Column("class", text=True), Column("x")), ((Cell(name), Cell("-1.0", remark=name)),))
    rows = list(csv.reader(io.StringIO(to_csv(table))))
    assert rows[1][0].startswith("'")
    assert rows[1][2].startswith("'")
    assert rows[1][1] == "-1.0", "a number stays a number"


@pytest.mark.parametrize(
    ("name", "escaped"),
    [
        ("a|b", "a\\|b"),
        ("<b>x</b>", "&lt;b&gt;x&lt;/b&gt;"),
        ("[a](http://x)", "\\[a\\](http&#58;//x)"),
        ("*a* _b_ `c`", "\\*a\\* \\_b\\_ \\`c\\`"),
        ("a\nb", "a b"),
        ("&lt;", "&amp;lt;"),
        ("@me www.x.y", "&#64;me www&#46;x.y"),
    ],
)
def test_markdown_names_stay_text(name: str, escaped: str) -> None:
    assert markdown_escape(name) == escaped


def test_latex_names_stay_text() -> None:
    assert latex_escape(r"50% \input{x} $a_1^2$ #&~ <|>") == (
        r"50\% \textbackslash{}input\{x\} \$a\_1\textasciicircum{}2\$ \#\&\textasciitilde{} "
        r"\textless{}\textbar{}\textgreater{}"
    )
    table = Table("t", "c", (Column("class", text=True),), ((Cell("[1cm] x"),), (Cell("*"),)))
    assert "\n{}[1cm] x \\\\\n{}* \\\\\n" in to_latex(table), "after a line break, [ and * would be its arguments"


def test_names_cannot_break_lines_or_turn_the_reading_direction() -> None:
    assert plain("a\r\nb\u2028c\x1b[31m") == "a b c [31m"
    assert plain("cat\u202egod") == "catgod"
    assert plain("bad \ud800 half") == "bad ? half"


def test_a_terminal_name_is_not_markup() -> None:
    table = Table("t", "[red]c[/red]", (Column("class", text=True),), ((Cell("[bold]x[/bold]"),),))
    text = to_text(table)
    assert "[bold]x[/bold]" in text
    assert "[red]c[/red]" in text


def test_a_class_named_by_a_digit_is_quoted_beside_its_value_but_not_in_csv() -> None:
    table = Table("t", "c", (Column("Model", text=True), Column("Worst")), ((Cell("net"), Cell("80.0", remark="8")),))
    assert "80.0 “8”" in to_text(table)
    assert "80.0 “8”" in to_markdown(table)
    assert "80.0 ``8''" in to_latex(table)
    assert to_csv(table).splitlines()[1] == "net,80.0,8"


def test_no_word_of_a_number_is_lost_or_broken_in_a_narrow_terminal() -> None:
    columns = [Column("Model", text=True), *(Column(f"share {n}", group="pgd20") for n in range(8))]
    table = Table(
        "toy", "toy", tuple(columns), ((Cell("sat"), *(Cell(f"{n}2.5", "10.0", "98.5") for n in range(8))),), ()
    )
    shown = to_text(table, 60).split()
    assert [f"{n}2.5" for n in range(8)] == [word for word in shown if word.endswith("2.5")]
    assert shown.count("(10.0\u201398.5)") == shown.count("share") == shown.count("pgd20") == 8
