"""What every plot is drawn with: shapes that matplotlib writes as SVG paths, and words that stay text.

A figure of matplotlib with axes, ticks and a legend costs 0.1 s, most of it for text that the reader's own font sets
anyway. Here one artist paints all shapes of a plot, those of the same look as one path, and words are elements of their
own on top. Lengths are points (72 per inch); y runs upwards from the lower left
corner.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import matplotlib
import numpy as np
from matplotlib import rc_context
from matplotlib.artist import Artist
from matplotlib.backend_bases import RendererBase
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.markers import MarkerStyle
from matplotlib.path import Path
from matplotlib.transforms import Affine2D, IdentityTransform

Point = tuple[float, float]
Dash = tuple[float, ...]
_FAMILY = "'Helvetica Neue', Arial, 'Liberation Sans', 'DejaVu Sans', sans-serif"
_ANCHORS = {"left": "start", "middle": "middle", "right": "end"}
#: Letters and digits reach about 0.72 of the font size above the line they stand on.
_MIDDLE = 0.36


@dataclass(frozen=True)
class Look:
    """How a shape is painted: outline, filling (None: none), width of the outline, dashes, opacity and line ends."""

    edge: str | None = None
    fill: str | None = None
    width: float = 1.0
    dash: Dash | None = None
    alpha: float = 1.0
    round: bool = False


class Drawing:
    """A sheet of `width` x `height` points; what is added later lies above, and words lie above all shapes."""

    def __init__(self, width: float, height: float) -> None:
        self.width, self.height = width, height
        self._shapes: list[tuple[Path, Look]] = []
        self._words: list[str] = []

    def path(self, path: Path, look: Look) -> None:
        """Add a path of matplotlib's in points."""
        # No point of a curve is left out, whatever the person's matplotlibrc says.
        path.should_simplify = False
        self._shapes.append((path, look))

    def lines(self, lines: Iterable[Sequence[Point]], look: Look) -> None:
        """Add open lines of two or more points each, all of one look."""
        found = [np.asarray(line, dtype=np.float64) for line in lines]
        if found:
            codes = [[Path.MOVETO, *[Path.LINETO] * (len(line) - 1)] for line in found]
            self.path(Path(np.concatenate(found), np.concatenate(codes)), look)

    def boxes(self, boxes: Sequence[tuple[float, float, float, float]], look: Look) -> None:
        """Add rectangles (left, bottom, right, top), all of one look."""
        if boxes:
            corners = np.array([[(a, b), (c, b), (c, d), (a, d), (a, b)] for a, b, c, d in boxes])
            codes = [Path.MOVETO, Path.LINETO, Path.LINETO, Path.LINETO, Path.CLOSEPOLY] * len(boxes)
            self.path(Path(corners.reshape(-1, 2), codes), look)

    def marks(self, points: Sequence[Point], marker: str, size: float, look: Look) -> None:
        """Add one of matplotlib's markers, `size` points wide, at each point; all of one look."""
        if points:
            style = MarkerStyle(marker)
            one = style.get_path().transformed(style.get_transform() + Affine2D().scale(size))
            at = np.asarray(points, dtype=np.float64)
            joined = [Path.MOVETO, *[Path.LINETO] * (len(one) - 1)]
            codes = np.array(joined if one.codes is None else one.codes, dtype=np.uint8)
            vertices = (np.asarray(one.vertices)[None] + at[:, None]).reshape(-1, 2)
            self.path(Path(vertices, np.tile(codes, len(at))), look)

    def word(
        self,
        at: Point,
        text: str,
        *,
        size: float,
        colour: str,
        anchor: str = "left",
        bold: bool = False,
        turn: float = 0.0,
    ) -> None:
        """Add a word with its middle height at a point; `turn` in degrees, counter-clockwise around the point."""
        x, y = at[0], self.height - at[1]
        turned = f' transform="rotate({-turn:.2f} {x:.2f} {y:.2f})"' if turn else ""
        anchored = "" if anchor == "left" else f' text-anchor="{_ANCHORS[anchor]}"'
        weight = ' font-weight="700"' if bold else ""
        self._words.append(
            f'<text x="{x:.2f}" y="{y + _MIDDLE * size:.2f}" font-size="{size:g}" fill="{colour}"'
            f"{anchored}{weight}{turned}>{escape(text, quote=False)}</text>"
        )

    def svg(self, title: str, description: str) -> str:
        """Return the sheet with a title and description for screen readers; equal drawings give equal bytes."""
        with rc_context():
            # Whatever the person's matplotlibrc says.
            matplotlib.rcdefaults()
            figure = Figure(figsize=(self.width / 72, self.height / 72), facecolor="white")
            figure.add_artist(_Shapes(self._shapes))
            out = io.BytesIO()
            figure.savefig(out, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
        text = re.sub(
            r"<metadata>.*?</metadata>\s*|<!DOCTYPE.*?>\s*", "", out.getvalue().decode("utf-8"), flags=re.DOTALL
        )
        spoken = f"<title>{escape(title)}</title>\n <desc>{escape(description)}</desc>\n "
        head, svg, rest = re.split(r"(<svg [^>]*>\s*)", text, maxsplit=1)
        words = "\n".join(["", f'<g font-family="{_FAMILY}">', *self._words, "</g>", ""])
        body, end = rest[: rest.rindex("</svg>")], rest[rest.rindex("</svg>") :]
        return f"{head}{svg}{spoken}{body.rstrip()}{words}{end}"


class _Shapes(Artist):
    """All shapes of a drawing as one artist."""

    def __init__(self, shapes: Sequence[tuple[Path, Look]]) -> None:
        super().__init__()
        self.shapes = shapes
        self.set_transform(IdentityTransform())

    def draw(self, renderer: RendererBase) -> None:
        """Paint the shapes in order."""
        for path, look in self.shapes:
            context: Any = renderer.new_gc()
            context.set_linewidth(look.width if look.edge else 0.0)
            context.set_foreground(look.edge or look.fill or "#000000")
            context.set_alpha(look.alpha)
            context.set_dashes(0, list(look.dash) if look.dash else None)
            context.set_capstyle("round" if look.round else "butt")
            context.set_joinstyle("miter")
            renderer.draw_path(context, path, IdentityTransform(), to_rgb(look.fill) if look.fill else None)
            context.restore()
