"""A table as text for a terminal, CSV, Markdown and LaTeX; each format escapes what people may write into a name."""

from __future__ import annotations

import csv
import io
import re
from typing import TYPE_CHECKING

from fairbench.reporting.class_labels import beside_number
from fairbench.reporting.table import TO, Cell, Column, Table

if TYPE_CHECKING:
    from rich.table import Table as RichTable

_FORMULA = ("=", "+", "-", "@", "＝", "＋", "－", "＠")  # noqa: RUF001 - spreadsheets read the full-width signs too
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
# Text that changes the direction of what follows can make a name read as another one.
_DIRECTION = re.compile("[\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_MARKDOWN = re.compile(r"([\\`*_{}\[\]#|~$!])")
_MARKED = re.compile(r"[\\`*_{}\[\]#|~$!&<>@]|://|www\.")
_LATEX = str.maketrans({
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "_": r"\_", "%": r"\%",
    "^": r"\textasciicircum{}", "~": r"\textasciitilde{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", '"': "''", TO: "--", "↑": r"$\uparrow$", "↓": r"$\downarrow$",
    "\u00a0": "~", "“": "``", "”": "''",
})  # fmt: skip
_ARROW = {"higher": " ↑", "lower": " ↓", None: ""}


def plain(text: str) -> str:
    """Return text on one line: control characters become spaces, marks of writing direction go."""
    if text.isprintable():
        # No sign of another kind is in it: nearly every cell is a number.
        return text
    whole = text.encode("utf-8", "replace").decode("utf-8")
    return _CONTROL.sub(" ", _DIRECTION.sub("", whole))


def to_csv(table: Table) -> str:
    """Return one row of headings and one per row, numbers bare; an interval takes two more columns, or only two where
    no cell of its column has a value.

    A text that a spreadsheet would run as a formula gets a leading apostrophe.
    """
    has_interval = [any(row[place].low for row in table.rows) for place in range(len(table.columns))]
    has_remark = [any(row[place].remark for row in table.rows) for place in range(len(table.columns))]
    has_value = [
        not has_interval[place] or any(row[place].text for row in table.rows) for place in range(len(table.columns))
    ]
    head: list[str] = []
    for place, column in enumerate(table.columns):
        name = f"{column.group} {column.head}".strip()
        head += [name] * has_value[place]
        head += [f"{name} low", f"{name} high"] * has_interval[place]
        head += [f"{name} remark"] * has_remark[place]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([_no_formula(text) for text in head])
    for row in table.rows:
        line: list[str] = []
        for place, (column, cell) in enumerate(zip(table.columns, row, strict=True)):
            line += [_no_formula(cell.text) if column.text else cell.text] * has_value[place]
            line += [cell.low, cell.high] * has_interval[place]
            line += [_no_formula(cell.remark)] * has_remark[place]
        writer.writerow(line)
    return out.getvalue()


def to_markdown(table: Table) -> str:
    """Return a GitHub-flavoured table under its caption; best values in bold."""
    heads = [markdown_escape(_head(column)) for column in table.columns]
    lines = [
        f"**{markdown_escape(table.caption)}**",
        "",
        f"| {' | '.join(heads)} |",
        f"|{'|'.join('---' if column.text else '--:' for column in table.columns)}|",
    ]
    for row in table.rows:
        cells = [f"**{markdown_escape(_full(cell))}**" if cell.best else markdown_escape(_full(cell)) for cell in row]
        lines.append(f"| {' | '.join(cells)} |")
    lines += [line for note in table.notes for line in ("", markdown_escape(note))]
    return "\n".join(lines) + "\n"


def to_latex(table: Table) -> str:
    r"""Return a booktabs table (\usepackage{booktabs}); best values in bold."""
    lines = [
        "% needs \\usepackage{booktabs}",
        "\\begin{table}",
        "\\centering",
        f"\\caption{{{latex_escape(' '.join([table.caption + '.', *table.notes]))}}}",
        f"\\begin{{tabular}}{{{''.join('l' if column.text else 'r' for column in table.columns)}}}",
        "\\toprule",
    ]
    if any(column.group for column in table.columns):
        heads, rules, place = [], [], 1
        for group, width in table.groups:
            heads.append(f"\\multicolumn{{{width}}}{{c}}{{{latex_escape(group)}}}" if group else "")
            if group:
                rules.append(f"\\cmidrule(lr){{{place}-{place + width - 1}}}")
            place += width
        lines += [f"{' & '.join(heads)} \\\\", " ".join(rules)]
    lines += [f"{' & '.join(latex_escape(c.head + _ARROW[c.better]) for c in table.columns)} \\\\", "\\midrule"]
    for row in table.rows:
        cells = [latex_escape(_full(cell)) for cell in row]
        cells = [f"\\textbf{{{text}}}" if cell.best else text for text, cell in zip(cells, row, strict=True)]
        # A row that begins with a bracket would be read as the optional argument of the line break before it.
        guard = "{}" if cells[0].startswith(("[", "*")) else ""
        lines.append(f"{guard}{' & '.join(cells)} \\\\")
    lines += ["\\bottomrule", "\\end{tabular}", "\\end{table}"]
    return "\n".join(lines) + "\n"


def to_rich(table: Table) -> RichTable:
    """Return the table for a terminal; names are printed as they are, never read as markup."""
    from rich import box
    from rich.table import Table as RichTable
    from rich.text import Text

    shown = RichTable(title=Text(plain(table.caption)), box=box.SIMPLE_HEAD, title_justify="left", pad_edge=False)
    for place, column in enumerate(table.columns):
        head = plain(f"{column.group}\n" if column.group else "") + ("\n" if column.group else "")
        cells = [_full(row[place]) for row in table.rows]
        words = [word for text in (*cells, column.group, column.head) for word in plain(text).split()]
        shown.add_column(
            Text(head + plain(column.head + _ARROW[column.better])),
            justify="left" if column.text else "right",
            overflow="fold",
            # A number or an interval is never broken in two; names may be.
            min_width=None if column.text else max(map(len, words), default=None),
        )
    for row in table.rows:
        shown.add_row(*(Text(plain(_full(cell)), style="bold" if cell.best else "") for cell in row))
    return shown


def to_text(table: Table, width: int = 120) -> str:
    """Return the table as plain text, `width` characters wide or as its numbers need, followed by its notes."""
    from rich.console import Console
    from rich.measure import Measurement

    out = io.StringIO()
    console = Console(file=out, width=width, color_system=None, markup=False, highlight=False, force_terminal=False)
    shown, wide = to_rich(table), console.options.update(width=10_000)
    if Measurement.get(console, wide, shown).maximum > width:
        # rich takes what is too much from columns that may wrap, down to nothing; those of numbers keep their minimum.
        for column in shown.columns:
            column.width = column.min_width
    console.width = max(width, Measurement.get(console, wide, shown).minimum)
    console.print(shown)
    for note in table.notes:
        console.print(plain(note), soft_wrap=True)
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines()).strip("\n") + "\n"


def latex_escape(text: str) -> str:
    """Return text that LaTeX prints as it is."""
    return plain(text).translate(_LATEX)


def markdown_escape(text: str) -> str:
    """Return text that Markdown prints as it is."""
    text = plain(text)
    if not _MARKED.search(text):
        return text
    escaped = _MARKDOWN.sub(r"\\\1", text)
    escaped = escaped.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    # GitHub turns bare addresses and mentions into links.
    return escaped.replace("://", "&#58;//").replace("www.", "www&#46;").replace("@", "&#64;")


def _no_formula(text: str) -> str:
    flat = plain(text)
    return f"'{flat}" if flat.lstrip().startswith(_FORMULA) else flat


def _head(column: Column) -> str:
    return f"{column.group} {column.head}".strip() + _ARROW[column.better]


def _full(cell: Cell) -> str:
    if cell.interval and not cell.text:
        return cell.interval
    text = cell.text or TO
    if cell.remark:
        text += f" {beside_number(cell.remark)}"
    return f"{text} ({cell.interval})" if cell.interval else text
