"""A plot area with straight scales, its axes and its legend, on a drawing of the common width.

Margins are inches, coordinates are those of the data, and sizes of marks and letters are points.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from matplotlib.ticker import MaxNLocator

from fairbench.reporting.drawing import Drawing, Look, Point
from fairbench.reporting.plot_style import GRID, INK, MUTED, SMALL, TEXT, WIDTH, WORST_COLOUR, label_width

_TICK = 3.5


@dataclass(frozen=True)
class Key:
    """One entry of a legend: a label, and how its line, mark or band looks."""

    label: str
    line: Look | None = None
    marker: str = ""
    mark: Look | None = None
    size: float = 5.0
    band: bool = False


class Chart:
    """A drawing with one plot area; `x` and `y` are the data at its left and right, and at its bottom and top."""

    def __init__(
        self, height: float, *, left: float, bottom: float, top: float, x: Point, y: Point, right: float = 0.16
    ) -> None:
        self.drawing = Drawing(72 * WIDTH, 72 * height)
        self.left, self.right = 72 * left, 72 * (WIDTH - right)
        self.bottom, self.top = 72 * bottom, 72 * (height - top)
        self.x, self.y = x, y

    def at(self, x: float, y: float) -> Point:
        """Return where a point of the data lies on the sheet."""
        across, up = (x - self.x[0]) / (self.x[1] - self.x[0]), (y - self.y[0]) / (self.y[1] - self.y[0])
        return self.left + across * (self.right - self.left), self.bottom + up * (self.top - self.bottom)

    def lines(self, lines: Iterable[Sequence[Point]], look: Look) -> None:
        """Draw open lines through points of the data; a line breaks where a value is not a number."""
        self.drawing.lines([[self.at(*point) for point in part] for line in lines for part in _unbroken(line)], look)

    def marks(self, points: Iterable[Point], marker: str, size: float, look: Look) -> None:
        """Draw a marker at points of the data."""
        self.drawing.marks([self.at(*point) for point in points], marker, size, look)

    def boxes(self, boxes: Iterable[tuple[float, float, float, float]], look: Look) -> None:
        """Draw rectangles between two corners (x, y, x, y) of the data."""
        self.drawing.boxes([(*self.at(a, b), *self.at(c, d)) for a, b, c, d in boxes], look)

    def word(
        self, x: float, y: float, text: str, *, colour: str = INK, size: float = SMALL, anchor: str = "middle",
        bold: bool = False, shift: Point = (0.0, 0.0), turn: float = 0.0,
    ) -> None:  # fmt: skip
        """Write a word at a point of the data, moved by points."""
        across, up = self.at(x, y)
        self.drawing.word(
            (across + shift[0], up + shift[1]), text, size=size, colour=colour, anchor=anchor, bold=bold, turn=turn
        )

    def x_axis(
        self, label: str, *, ticks: Sequence[float] | None = None, names: Sequence[str] | None = None,
        grid: bool = True, whole: bool = False,
    ) -> None:  # fmt: skip
        """Draw the lower axis with its label; `whole` keeps ticks at whole numbers, `names` are the ticks' labels."""
        ticks = nice_ticks(*self.x, whole=whole) if ticks is None else ticks
        if grid:
            self.lines([[(t, self.y[0]), (t, self.y[1])] for t in ticks], Look(GRID, width=0.8))
        base = Look(MUTED, width=0.8)
        self.drawing.lines([[(self.left, self.bottom), (self.right, self.bottom)]], base)
        spots = [self.at(t, self.y[0]) for t in ticks]
        self.drawing.lines([[(x, y), (x, y - _TICK)] for x, y in spots], base)
        for (x, y), told in zip(spots, names or _told(ticks), strict=True):
            self.drawing.word((x, y - _TICK - 8), told, size=SMALL, colour=INK, anchor="middle")
        middle = (self.left + self.right) / 2
        self.drawing.word((middle, self.bottom - _TICK - 23), label, size=SMALL, colour=INK, anchor="middle")

    def y_axis(self, label: str, *, ticks: Sequence[float] | None = None, grid: bool = True) -> None:
        """Draw the left axis with its label standing at the edge of the sheet."""
        ticks = nice_ticks(*self.y) if ticks is None else ticks
        if grid:
            self.lines([[(self.x[0], t), (self.x[1], t)] for t in ticks], Look(GRID, width=0.8))
        base = Look(MUTED, width=0.8)
        self.drawing.lines([[(self.left, self.bottom), (self.left, self.top)]], base)
        spots = [self.at(self.x[0], t) for t in ticks]
        self.drawing.lines([[(x, y), (x - _TICK, y)] for x, y in spots], base)
        for (x, y), told in zip(spots, _told(ticks), strict=True):
            self.drawing.word((x - _TICK - 3, y), told, size=SMALL, colour=INK, anchor="right")
        middle = (self.bottom + self.top) / 2
        self.drawing.word((8, middle), label, size=SMALL, colour=INK, anchor="middle", turn=90)

    def rows(
        self,
        places: Sequence[float],
        names: Sequence[str],
        *,
        worst: Collection[float] = (),
        line: bool = True,
        size: float = TEXT,
    ) -> None:
        """Write the names of rows at the left; those in `worst` are bold and orange."""
        if line:
            self.drawing.lines([[(self.left, self.bottom), (self.left, self.top)]], Look(MUTED, width=0.8))
        for place, name in zip(places, names, strict=True):
            low = place in worst
            self.word(self.x[0], place, name, size=size, anchor="right", shift=(-5, 0), bold=low,
                      colour=WORST_COLOUR if low else INK)  # fmt: skip

    def heads(self, heads: Sequence[str], size: float = SMALL) -> None:
        """Write the names of columns 0, 1, ... above: flat where there is room, else standing."""
        flat = heads_flat(heads, (self.right - self.left) / 72 / max(len(heads), 1))
        for place, head in enumerate(heads):
            x, _ = self.at(place, self.y[1])
            if flat:
                self.drawing.word((x, self.top + 9), head, size=size, colour=INK, anchor="middle")
            else:
                self.drawing.word((x, self.top + 4), head, size=size, colour=INK, turn=90)

    def legend(self, keys: Sequence[Key], *, columns: int = 2, top: float | None = None) -> None:
        """Put the legend in rows of `columns` at the top left, or `top` points above the lower edge."""
        start = 4.0
        for column in range(min(columns, len(keys))):
            own = keys[column::columns]
            for row, key in enumerate(own):
                self._key(key, start, (self.drawing.height if top is None else top) - 8 - 15.5 * row)
            start += 22 + 72 * label_width([key.label for key in own], SMALL) + 4

    def svg(self, title: str, description: str) -> str:
        """Return the chart; see `Drawing.svg`."""
        return self.drawing.svg(title, description)

    def _key(self, key: Key, x: float, y: float) -> None:
        if key.band and key.mark is not None:
            self.drawing.boxes([(x, y - 4, x + 16, y + 4)], key.mark)
        if key.line is not None:
            self.drawing.lines([[(x, y), (x + 16, y)]], key.line)
        if key.marker and key.mark is not None:
            self.drawing.marks([(x + 8, y)], key.marker, key.size, key.mark)
        self.drawing.word((x + 21, y), key.label, size=SMALL, colour=INK)


def nice_ticks(low: float, high: float, *, whole: bool = False) -> list[float]:
    """Return about six round values within [low, high]."""
    values = MaxNLocator(6, steps=[1, 2, 5, 10], integer=whole).tick_values(min(low, high), max(low, high))
    room = 1e-9 * abs(high - low)
    return [float(v) for v in values if min(low, high) - room <= v <= max(low, high) + room]


def heads_flat(heads: Sequence[str], room: float) -> bool:
    """Return whether names of columns fit side by side in `room` inches each."""
    return label_width(heads, SMALL) < room + 0.06


def heads_height(heads: Sequence[str], room: float) -> float:
    """Return the height in inches that `Chart.heads` needs."""
    return 0.26 if heads_flat(heads, room) else label_width(heads, SMALL) + 0.06


def _told(ticks: Sequence[float]) -> list[str]:
    digits = max([len(f"{tick:.6g}".partition(".")[2]) for tick in ticks if "e" not in f"{tick:.6g}"], default=0)
    return [f"{tick + 0.0:.{digits}f}".replace("-", "\u2212") for tick in ticks]


def _unbroken(line: Sequence[Point]) -> list[list[Point]]:
    parts: list[list[Point]] = [[]]
    for point in line:
        if math.isnan(point[0]) or math.isnan(point[1]):
            parts.append([])
        else:
            parts[-1].append(point)
    return [part for part in parts if len(part) > 1]
