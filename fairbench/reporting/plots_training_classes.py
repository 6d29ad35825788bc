"""Plots of a training log with one line per class: validation accuracy, radius, and what a method holds per class."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fairbench.outcomes import NATURAL
from fairbench.reporting.chart import Chart
from fairbench.reporting.drawing import Look
from fairbench.reporting.plot_style import INK, MARKERS, SERIES, SMALL, label_width, shorten
from fairbench.reporting.plots_training import Log, around, curve

NAMED = 6


@dataclass(frozen=True)
class ClassSeries:
    """A value of every class over epochs.

    Attributes:
        name: in the log.
        title: of the plot and of the columns of its table.
        axis: of its values, with their unit.
        text: how to read it.
        epochs: E of them.
        values: (E, K), NaN where undefined.
    """

    name: str
    title: str
    axis: str
    text: str
    epochs: tuple[int, ...]
    values: NDArray[np.float64]


def class_series(log: Log, num_classes: int) -> list[ClassSeries]:
    """Return what the log says of each class: robust accuracy on validation images, and whatever else differs between
    epochs or classes: the radius, and the method's weights, temperatures or survivors."""
    attacks = dict.fromkeys(name for entry in log for name in entry.get("validation") or {})
    found = []
    for attack in [name for name in attacks if name != NATURAL] or list(attacks):
        rows = [(e, (e.get("validation") or {}).get(attack, {}).get("class_accuracy")) for e in log]
        found += _series(
            rows, num_classes, attack, f"validation accuracy under {attack}", "validation accuracy (%)",
            "Live weights after each epoch, or their average where that is what is deployed.", 100,
        )  # fmt: skip
    found += _series(
        [(entry, entry.get("class_eps")) for entry in log], num_classes, "class_eps", "radius", "radius (x 255)",
        "The radius that each class's training examples were made with, in steps of a pixel of 0 to 255.", 255,
    )  # fmt: skip
    for name in dict.fromkeys(name for entry in log for name in entry.get("class_state") or {}):
        title = str(name).replace("_", " ")
        rows = [(entry, (entry.get("class_state") or {}).get(name)) for entry in log]
        held = "What the method held for each class at each epoch's end; what it sets per batch is the last one's."
        found += [one for one in _series(rows, num_classes, name, title, shorten(title, 32), held, 1) if _moves(one)]
    return found


def class_curves(series: ClassSeries, class_names: Sequence[str], label: str) -> str:
    """Return one line per class.

    The classes that end highest and lowest are named; the others are grey.
    """
    epochs, values = series.epochs, series.values
    order = [int(c) for c in np.argsort(-values[-1], kind="stable") if not np.isnan(values[-1, c])]
    named = order if len(order) <= NAMED else [*order[: NAMED // 2], *order[-NAMED // 2 :]]
    names = [shorten(class_names[c], 14) for c in named]
    right = label_width(names, SMALL) + 0.32
    chart = Chart(3.2, left=0.66, bottom=0.5, top=0.12, right=right, x=around(epochs), y=around(values.ravel(), 0.05))
    chart.x_axis("epoch", grid=False, whole=True)
    chart.y_axis(series.axis)
    lines = {c: [(float(e), float(v)) for e, v in zip(epochs, values[:, c], strict=True)] for c in order}
    chart.lines([line for c, line in lines.items() if c not in named], Look("#c3cad1", width=0.9))
    for place, (c, name) in enumerate(zip(named, names, strict=True)):
        colour, marker = SERIES[place % len(SERIES)], MARKERS[place % len(MARKERS)]
        curve(chart, lines[c], Look(colour, width=1.5))
        chart.marks([lines[c][-1]], marker, 4, Look(colour, colour))
        key = chart.right + 10, chart.top - 8 - 15.5 * place
        chart.drawing.marks([key], marker, 5, Look(colour, colour))
        chart.drawing.word((key[0] + 8, key[1]), name, size=SMALL, colour=INK)
    told = f"At the end highest for {class_names[order[0]]}, lowest for {class_names[order[-1]]}." if order else ""
    return chart.svg(f"{series.title} per class during training, {label}", told)


def _series(
    rows: Iterable[tuple[Any, Any]], num_classes: int, name: str, title: str, axis: str, text: str, scale: float
) -> list[ClassSeries]:
    """Return the series of the epochs that have a value for each of these classes; none where none has."""
    kept = [(entry["epoch"], row) for entry, row in rows if isinstance(row, list) and len(row) == num_classes]
    if not kept:
        return []
    values = scale * np.array([[np.nan if v is None else v for v in row] for _, row in kept], dtype=np.float64)
    return [ClassSeries(str(name), title, axis, text, tuple(epoch for epoch, _ in kept), values)]


def _moves(series: ClassSeries) -> bool:
    return not np.array_equal(series.values, np.broadcast_to(series.values[0], series.values.shape), equal_nan=True)
