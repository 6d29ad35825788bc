"""What all plots share: size, colours that colour-blind people tell apart, labels, and how an SVG goes into a page.

Text stays text (no glyph paths): it is small, searchable and rendered by whatever font the reader has; sizes are
measured with the font that matplotlib ships, so the layout is the same everywhere. A figure is 360 points wide: one to
one on a phone, and two side by side on a laptop.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import text_to_path

from fairbench.outcomes import NATURAL

INK, MUTED, GRID, BAND = "#1b1f24", "#59636e", "#e4e8ec", "#dfe6ee"
NATURAL_COLOUR, ROBUST_COLOUR, WORST_COLOUR = "#0072b2", "#1b1f24", "#c2410c"
#: Okabe and Ito's colours without yellow, and a marker for each: no series is told by colour alone.
SERIES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#1b1f24")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "p")
WIDTH = 360 / 72
#: Sizes of names, and of numbers and legends. A phone shows them as they are, a laptop a third larger.
TEXT, SMALL = 11.5, 10.5
_ROBUST_RAMP = ("#f4f7fa", "#a9cbe4", "#3a84bd", "#0a3a6b")
_BROKEN_RAMP = ("#ffffff", "#fbd9b8", "#ea8f45", "#a23a05")


def label_width(labels: Sequence[str], size: float = TEXT) -> float:
    """Return the room in inches that the longest label needs, with a little air."""
    return max([0.0, *(_text_width(label, size) for label in labels)]) / 72 + 0.12


@lru_cache(maxsize=4096)
def _text_width(text: str, size: float) -> float:
    # The measuring font lacks most scripts; their characters are about as wide as high.
    known = "".join(sign for sign in text if ord(sign) < 0x250)
    width, _, _ = text_to_path.get_text_width_height_descent(known, FontProperties(size=size), ismath=False)
    return float(width) + size * (len(text) - len(known))


@lru_cache(maxsize=4096)
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


def axis_label(attack: str) -> str:
    """Return the label of an axis of accuracies."""
    return "natural accuracy (%)" if attack == NATURAL else f"accuracy under {shorten(attack, 24)} (%)"


def shorten(text: str, limit: int = 18) -> str:
    """Return a label of at most `limit` characters; the table beside the plot holds it whole.

    The middle goes: names often differ at their end only ("class number 12").
    """
    head = limit // 2
    return text if len(text) <= limit else f"{text[:head].rstrip()}…{text[head + 1 - limit :].lstrip()}"


def inline(svg: str, key: str) -> str:
    """Return a drawing as an element of an HTML page: no prolog, and ids that no other plot of the page has."""
    root, body = svg[svg.index("<svg ") :].strip().split(">", 1)
    box = re.search(r'viewBox="[^"]*"', root)
    assert box is not None, "every drawing has a viewBox"
    body = body.replace("<title>", f'<title id="{key}-title">', 1).replace("<desc>", f'<desc id="{key}-desc">', 1)
    return f'<svg {box[0]} role="img" aria-labelledby="{key}-title {key}-desc">{body}'
