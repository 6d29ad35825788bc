"""What every plot is drawn with: shapes that become SVG paths, and words that stay text.

A figure of matplotlib with axes, ticks and a legend costs 0.1 s, and even one without them 0.01 s, beside 0.2 s to load
it; a report of ten runs has 50 plots. So matplotlib gives the markers, the curves and the widths of words, and the
paths are written here: those of the same look as one path, words as elements of their own on top. Lengths are points
(72 per inch); y runs upwards from the lower left corner.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
import numpy.typing as npt
from matplotlib.markers import MarkerStyle
from matplotlib.path import Path
from matplotlib.transforms import Affine2D

Point = tuple[float, float]
Dash = tuple[float, ...]
_FAMILY = "'Helvetica Neue', Arial, 'Liberation Sans', 'DejaVu Sans', sans-serif"
_ANCHORS = {"left": "start", "middle": "middle", "right": "end"}
#: How an SVG path says what follows, and how many points that takes.
_COMMANDS = {
    int(Path.MOVETO): ("M", 1), int(Path.LINETO): ("L", 1), int(Path.CURVE3): ("Q", 2), int(Path.CURVE4): ("C", 3),
}  # fmt: skip
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
        self._shapes: list[tuple[str, Look]] = []
        self._words: list[str] = []

    def path(self, path: Path, look: Look) -> None:
        """Add a path of matplotlib's in points."""
        points = np.asarray(path.vertices)
        codes = np.full(len(points), Path.LINETO) if path.codes is None else np.asarray(path.codes)
        self._add(self._told(points, [int(Path.MOVETO), *codes[1:].tolist()]), look)

    def lines(self, lines: Iterable[Sequence[Point]], look: Look) -> None:
        """Add open lines of two or more points each, all of one look."""
        found = ["M" + "L".join(self._points(line)) for line in lines]
        if found:
            self._add("".join(found), look)

    def boxes(self, boxes: Sequence[tuple[float, float, float, float]], look: Look) -> None:
        """Add rectangles (left, bottom, right, top), all of one look."""
        if boxes:
            corners = np.asarray(boxes, dtype=np.float64)
            corners[:, 1::2] = self.height - corners[:, 1::2]
            rows = [[_short(value) for value in row] for row in corners.tolist()]
            self._add("".join(f"M{a} {b}H{c}V{d}H{a}z" for a, b, c, d in rows), look)

    def marks(self, points: Sequence[Point], marker: str, size: float, look: Look) -> None:
        """Add one of matplotlib's markers, `size` points wide, at each point; all of one look.

        A point that comes again is left out: one path is filled once.
        """
        points = list(dict.fromkeys(points))
        if points and marker == "o":
            radius, width = _short(size / 2), _short(size)
            half = f"a{radius} {radius} 0 1 0"
            left = [(x - size / 2, y) for x, y in points]
            self._add("".join(f"M{at}{half} {width} 0{half} -{width} 0z" for at in self._points(left)), look)
        elif points:
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
        width, height = _short(self.width), _short(self.height)
        rows = [
            '<?xml version="1.0" encoding="utf-8"?>',
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}pt" height="{height}pt" '
            f'viewBox="0 0 {width} {height}">',
            f"<title>{escape(title)}</title>",
            f"<desc>{escape(description)}</desc>",
            f'<path d="M0 0H{width}V{height}H0z" fill="#ffffff"/>',
            *(f'<path d="{told}"{_attributes(look)}/>' for told, look in self._shapes),
            f'<g font-family="{_FAMILY}">',
            *self._words,
            "</g>",
            "</svg>",
        ]
        return "\n".join(rows) + "\n"

    def _add(self, told: str, look: Look) -> None:
        self._shapes.append((told, look))

    def _points(self, points: npt.ArrayLike) -> list[str]:
        return [f"{_short(x)} {_short(self.height - y)}" for x, y in np.asarray(points, dtype=np.float64).tolist()]

    def _told(self, vertices: npt.ArrayLike, codes: Sequence[int]) -> str:
        """Return a path's vertices and matplotlib's codes as SVG tells them."""
        points, told, place = self._points(vertices), [], 0
        while place < len(points):
            if codes[place] == Path.CLOSEPOLY:
                told.append("z")
                place += 1
                continue
            command, taken = _COMMANDS[codes[place]]
            told.append(command + " ".join(points[place : place + taken]))
            place += taken
        return "".join(told)


def _short(value: float) -> str:
    """Return a length to a hundredth of a point, without zeros at its end."""
    return f"{round(value, 2) + 0.0:.2f}".rstrip("0").rstrip(".")


def _attributes(look: Look) -> str:
    found = f' fill="{look.fill or "none"}"'
    if look.edge:
        found += f' stroke="{look.edge}"'
        found += f' stroke-width="{look.width:g}"' if look.width != 1 else ""
        found += f' stroke-dasharray="{" ".join(f"{length:g}" for length in look.dash)}"' if look.dash else ""
        found += ' stroke-linecap="round"' if look.round else ""
    return found + (f' opacity="{look.alpha:g}"' if look.alpha != 1 else "")
