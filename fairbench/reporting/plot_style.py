"""What all plots share: size, colours that colour-blind people tell apart, and an SVG whose bytes do not change.

Text stays text (no glyph paths): it is small, searchable and rendered by whatever font the reader has; sizes are
measured with the font that matplotlib ships, so the layout is the same everywhere. A figure is 360 points wide: one to
one on a phone, and two side by side on a laptop.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from html import escape
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import text_to_path

from fairbench.outcomes import NATURAL

INK, MUTED, GRID, BAND = "#1b1f24", "#59636e", "#e4e8ec", "#dfe6ee"
NATURAL_COLOUR, ROBUST_COLOUR, WORST_COLOUR = "#0072b2", "#1b1f24", "#c2410c"
#: Okabe and Ito's colours without yellow, and a marker for each: no series is told by colour alone.
SERIES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#1b1f24")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "p")
WIDTH = 360 / 72
SMALL = 9.0
_ROBUST_RAMP = ("#f4f7fa", "#a9cbe4", "#3a84bd", "#0a3a6b")
_BROKEN_RAMP = ("#ffffff", "#fbd9b8", "#ea8f45", "#a23a05")
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "fairbench",
    "text.parse_math": False,
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 10.0,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.labelsize": 10.0,
    "axes.edgecolor": MUTED,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": False,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "legend.frameon": False,
    "legend.fontsize": 9.0,
    "path.simplify": False,
    "figure.facecolor": "white",
}
_FAMILY = "'Helvetica Neue', Arial, 'Liberation Sans', 'DejaVu Sans', sans-serif"


@contextmanager
def styled() -> Iterator[None]:
    """Draw in fairbench's style whatever the person's matplotlibrc says."""
    with warnings.catch_warnings(), rc_context():
        # A name in a script that the measuring font lacks is still right in the reader's own font.
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        warnings.filterwarnings("ignore", message="Matplotlib currently does not support")
        import matplotlib

        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_STYLE)
        yield


def canvas(
    height: float, *, left: float, bottom: float = 0.46, top: float = 0.1, right: float = 0.16
) -> tuple[Figure, Axes]:
    """Return a figure of the common width with one axes; height and margins in inches."""
    figure = Figure(figsize=(WIDTH, height))
    width = WIDTH - left - right
    return figure, figure.add_axes((left / WIDTH, bottom / height, width / WIDTH, (height - bottom - top) / height))


def label_width(labels: Sequence[str], size: float = 10.0) -> float:
    """Return the room in inches that the longest label needs, with a little air."""
    return max([0.0, *(_text_width(label, size) for label in labels)]) / 72 + 0.12


def _text_width(text: str, size: float) -> float:
    # The measuring font lacks most scripts; their characters are about as wide as high.
    known = "".join(sign for sign in text if ord(sign) < 0x250)
    width, _, _ = text_to_path.get_text_width_height_descent(known, FontProperties(size=size), ismath=False)
    return float(width) + size * (len(text) - len(known))


def share_colour(share: float, *, broken: bool = False) -> tuple[str, str]:
    """Return the colours of a cell and of the text in it for a share in [0, 1]: the darker, the more.

    Blue is robust, orange is broken; lightness alone already tells more from less.
    """
    ramp = np.array(
        [[int(colour[i : i + 2], 16) for i in (1, 3, 5)] for colour in (_BROKEN_RAMP if broken else _ROBUST_RAMP)]
    )
    red, green, blue = (round(float(np.interp(share, (0, 1 / 3, 2 / 3, 1), ramp[:, i]))) for i in range(3))
    # Relative luminance (WCAG 2): at 0.179 black and white stand out equally, 4.6 to 1.
    linear = [(c / 255 + 0.055) ** 2.4 / 1.055**2.4 for c in (red, green, blue)]
    light = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2] > 0.179
    return f"#{red:02x}{green:02x}{blue:02x}", "#000000" if light else "#ffffff"


def cells(axes: Axes, colours: Sequence[Sequence[str | None]]) -> None:
    """Fill the cells of a map, row by row from the top; None stays empty."""
    for y, row in enumerate(colours):
        axes.broken_barh(
            [(x - 0.5, 1) for x, colour in enumerate(row) if colour], (y - 0.5, 1), edgecolor="white", linewidth=0.8,
            facecolors=[colour for colour in row if colour],
        )  # fmt: skip


def heads_above(axes: Axes, heads: Sequence[str], room: float) -> None:
    """Label the columns of a map on top: flat where `room` (inches a column) is enough, else standing."""
    flat = label_width(heads, SMALL) < room + 0.06
    axes.set_xticks(range(len(heads)), heads)
    axes.tick_params(axis="x", length=0, top=False, labeltop=True, labelbottom=False, labelsize=SMALL,
                     labelrotation=0 if flat else 90)  # fmt: skip
    axes.tick_params(axis="y", length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)


def heads_height(heads: Sequence[str], room: float) -> float:
    """Return the height in inches that `heads_above` needs."""
    return 0.26 if label_width(heads, SMALL) < room + 0.06 else label_width(heads, SMALL) + 0.06


def legend_above(figure: Figure, axes: Axes, columns: int) -> None:
    """Put the legend in rows of `columns` at the top left of the figure."""
    handles, labels = axes.get_legend_handles_labels()
    if labels:
        # matplotlib fills columns first; the reader's order is row by row.
        order = [place for start in range(columns) for place in range(start, len(labels), columns)]
        figure.legend(
            [handles[i] for i in order], [labels[i] for i in order], loc="upper left", ncols=min(columns, len(labels)),
            bbox_to_anchor=(0.0, 1.0), fontsize=SMALL, handlelength=1.4, columnspacing=1.2, handletextpad=0.5,
            borderpad=0.1, labelspacing=0.3,
        )  # fmt: skip


def axis_label(attack: str) -> str:
    """Return the label of an axis of accuracies."""
    return "natural accuracy (%)" if attack == NATURAL else f"accuracy under {shorten(attack, 24)} (%)"


def shorten(text: str, limit: int = 18) -> str:
    """Return a label of at most `limit` characters; the table beside the plot holds it whole.

    The middle goes: names often differ at their end only ("class number 12").
    """
    head = limit // 2
    return text if len(text) <= limit else f"{text[:head].rstrip()}…{text[head + 1 - limit :].lstrip()}"


def to_svg(figure: Figure, title: str, description: str) -> str:
    """Return the figure as SVG with a title and description for screen readers; equal figures give equal bytes."""
    out = io.BytesIO()
    figure.savefig(out, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    text = out.getvalue().decode("utf-8")
    text = re.sub(r"<metadata>.*?</metadata>\s*|<!DOCTYPE.*?>\s*", "", text, flags=re.DOTALL)
    # Inside tags only: a class name may hold the same words, but never an unescaped "<".
    text = re.sub(r"<text style=[^>]*>", _reader_font, text)
    spoken = f"<title>{escape(title)}</title>\n <desc>{escape(description)}</desc>\n "
    return re.sub(r"(<svg [^>]*>\s*)", lambda found: found[1] + spoken, text, count=1)


def inline(svg: str, key: str) -> str:
    """Return an SVG file as an element of an HTML page: no prolog, ids that no other plot of the page has."""
    text = svg[svg.index("<svg ") :].strip()
    text = re.sub(r"<style.*?</style>|<!--.*?-->", "", text, flags=re.DOTALL)
    linked = {name for tag in re.findall(r"<[^>]*>", text) for name in _LINK.findall(tag)}

    def retag(found: re.Match[str]) -> str:
        tag = re.sub(r' xmlns(?::xlink)?="[^"]*"', "", found[0])
        tag = re.sub(r' id="([^"]*)"', lambda i: f' id="{key}-{i[1]}"' if i[1] in linked else "", tag)
        tag = tag.replace('xlink:href="#', f'href="#{key}-').replace("url(#", f"url(#{key}-")
        return re.sub(r"(\d\.\d\d)\d+", r"\1", tag)

    text = re.sub(r"<[^>]*>", retag, text)
    text = re.sub(r"<svg ([^>]*)>", lambda found: _root(found[1], key), text, count=1)
    text = text.replace("<title>", f'<title id="{key}-title">', 1).replace("<desc>", f'<desc id="{key}-desc">', 1)
    return re.sub(r"\s*\n\s*", "\n", text)


_LINK = re.compile(r'(?:xlink:href="#|url\(#)([^")]+)')


def _reader_font(tag: re.Match[str]) -> str:
    return re.sub(r"font-family: [^;\"]+|(?<=px )'DejaVu Sans'[^;\"]*", lambda f: _font(f[0]), tag[0])


def _font(found: str) -> str:
    return f"font-family: {_FAMILY}" if found.startswith("font-family") else _FAMILY


def _root(attributes: str, key: str) -> str:
    box = re.search(r'viewBox="[^"]*"', attributes)
    assert box is not None, "matplotlib writes a viewBox"
    return f'<svg {box[0]} role="img" aria-labelledby="{key}-title {key}-desc">'
