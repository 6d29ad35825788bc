"""Plots with one row per class: accuracy with its interval, and maps of class x attack and class x run.

Shape key: K classes; accuracies are fractions in the metrics and percent in the plots.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from fairbench.outcomes import NATURAL
from fairbench.reporting.chart import Chart, Key, heads_height
from fairbench.reporting.class_labels import beside_number
from fairbench.reporting.drawing import Look
from fairbench.reporting.plot_style import (
    BAND,
    MUTED,
    NATURAL_COLOUR,
    ROBUST_COLOUR,
    SMALL,
    WIDTH,
    WORST_COLOUR,
    label_width,
    share_colour,
    shorten,
)
from fairbench.reporting.view import RunView, SampleSet

MANY = 40
LOWEST, HIGHEST = 22, 8
#: The height of a row in inches.
_ROW = 0.235


def class_order(accuracy: Sequence[float | None]) -> list[int]:
    """Return the classes from the lowest accuracy to the highest (ties by label), without those that are undefined."""
    return sorted((c for c, a in enumerate(accuracy) if a is not None), key=lambda c: (accuracy[c], c))


def shown_classes(order: Sequence[int]) -> tuple[list[int], int]:
    """Return the classes that a plot shows and after how many of them it skips some (0: it shows all).

    More than 40 rows are not read: the 22 lowest and the 8 highest stay, and the table holds the rest.
    """
    if len(order) <= MANY:
        return list(order), 0
    return [*order[:LOWEST], *order[-HIGHEST:]], LOWEST


def class_dots(view: RunView, attack: str) -> str:
    """Return each class's accuracy under an attack with its 95 % interval, the lowest on top, beside the natural one.

    The dashed line is the average; the band is where the lowest class would lie if all classes were equal.
    """
    metrics = view.of(attack)
    accuracy = metrics["class_accuracy"]
    shown, cut = shown_classes(class_order(accuracy))
    names = [shorten(view.class_names[c]) for c in shown]
    places = _places(len(shown), cut)
    worst = metrics["worst_class"]["index"]
    natural = view.of(NATURAL)["class_accuracy"] if attack != NATURAL and NATURAL in view.attacks else None
    equal = metrics["if_equal"].get("worst_class", {}).get("range")
    band = attack != NATURAL and bool(equal) and None not in equal
    rows = max(places, default=0) + 1
    chart = Chart(_ROW * rows + 1.16, left=label_width(names), bottom=0.5, top=0.5, x=(-2, 102), y=(rows - 0.3, -0.7))
    if band:
        chart.boxes([(100 * equal[0], rows - 0.3, 100 * equal[1], -0.7)], Look(fill=BAND))
    chart.x_axis("accuracy (%)", ticks=range(0, 101, 20))
    middle = Look(MUTED, dash=(4, 3))
    chart.lines([[(100 * metrics["average"], rows - 0.3), (100 * metrics["average"], -0.7)]], middle)
    hollow = Look(NATURAL_COLOUR, "#ffffff", 1.2)
    if natural is not None:
        chart.marks([(100 * natural[c], place) for place, c in zip(places, shown, strict=True)], "o", 4.6, hollow)
    own = [place for place, c in zip(places, shown, strict=True) if c == worst]
    for low_class, colour, marker in ((False, ROBUST_COLOUR, "o"), (True, WORST_COLOUR, "D")):
        part = [(place, c) for place, c in zip(places, shown, strict=True) if (c == worst) == low_class]
        spans = [(place, *metrics["class_interval"][c]) for place, c in part]
        chart.lines([[(100 * low, place), (100 * high, place)] for place, low, high in spans], Look(colour, width=1.6))
        chart.marks([(100 * accuracy[c], place) for place, c in part], marker, 5, Look(colour, colour))
    _row_names(chart, places, names, cut, len(class_order(accuracy)) - len(shown), own)
    line = Look(ROBUST_COLOUR, width=1.6)
    keys = [
        *([Key("lowest, if all equal", mark=Look(fill=BAND), band=True)] if band else []),
        Key("average", middle),
        *([Key("natural", marker="o", mark=hollow, size=4.6)] if natural is not None else []),
        Key(f"{shorten(attack, 14)}, 95 % interval", line, "o", Look(ROBUST_COLOUR, ROBUST_COLOUR)),
    ]
    chart.legend(keys)
    skipped = f" The {len(class_order(accuracy)) - len(shown)} classes between are left out." if cut else ""
    return chart.svg(
        f"Accuracy per class, {attack}, {view.label}",
        f"Lowest: {beside_number(view.class_names[worst])} at {100 * accuracy[worst]:.1f} %; "
        f"average {100 * metrics['average']:.1f} %.{skipped} All values are in the table beside the plot.",
    )


def class_attack_map(view: RunView) -> str:
    """Return a map of class x attack, classes sorted by accuracy under the strongest attack."""
    order = class_order(view.of(view.strongest)["class_accuracy"])
    columns = {attack: view.of(attack) for attack in view.attacks}
    return _class_map(
        view.class_names, order, columns, f"Accuracy per class and attack, {view.label}",
        f"Rows are classes, sorted by accuracy under {view.strongest}; columns are {', '.join(columns)}.",
    )  # fmt: skip


def class_run_map(sample_set: SampleSet, attack: str) -> str:
    """Return a map of class x run under one attack, classes sorted by their mean over the runs."""
    views = sample_set.having(attack)
    table = np.array([_filled(view.of(attack)["class_accuracy"]) for view in views])
    present = ~np.isnan(table).any(axis=0)
    order = sorted(np.flatnonzero(present).tolist(), key=lambda c: (float(table[:, c].mean()), c))
    columns = {view.label: view.of(attack) for view in views}
    return _class_map(
        views[0].class_names, order, columns, f"Accuracy per class and run under {attack}",
        f"Rows are classes, sorted by their mean over the runs; columns are {', '.join(columns)}.",
    )  # fmt: skip


def _class_map(
    class_names: Sequence[str], order: Sequence[int], columns: Mapping[str, Mapping[str, Any]], title: str, spoken: str
) -> str:
    shown, cut = shown_classes(order)
    names = [shorten(class_names[c]) for c in shown]
    heads = [shorten(name, 16) for name in columns]
    places = _places(len(shown), cut)
    left = label_width(names)
    room = (WIDTH - left - 0.1) / len(heads)
    top = heads_height(heads, room)
    rows = max(places, default=0) + 1
    chart = Chart(
        _ROW * rows + top + 0.1,
        left=left,
        bottom=0.1,
        top=top,
        right=0.1,
        x=(-0.5, len(heads) - 0.5),
        y=(rows - 0.5, -0.5),
    )
    filled: dict[str, list[tuple[float, float, float, float]]] = {}
    frames = []
    for column, metrics in enumerate(columns.values()):
        worst = metrics["worst_class"]["index"]
        for place, c in zip(places, shown, strict=True):
            value = metrics["class_accuracy"][c]
            if value is None:
                continue
            colour, ink = share_colour(value)
            filled.setdefault(colour, []).append((column - 0.5, place + 0.5, column + 0.5, place - 0.5))
            chart.word(column, place, f"{100 * value:.0f}", colour=ink, bold=c == worst)
            if c == worst:
                frames.append((column - 0.46, place + 0.43, column + 0.46, place - 0.43))
    for colour, boxes in filled.items():
        chart.boxes(boxes, Look("#ffffff", colour, 0.8))
    chart.boxes(frames, Look(WORST_COLOUR, width=2))
    _row_names(chart, places, names, cut, len(order) - len(shown), line=False)
    chart.heads(heads)
    return chart.svg(title, f"{spoken} The lowest class of each column has a frame. In percent.")


def _row_names(
    chart: Chart, places: Sequence[int], names: Sequence[str], cut: int, left_out: int, worst: Sequence[int] = (),
    *, line: bool = True,
) -> None:  # fmt: skip
    if cut:
        middle = (chart.x[0] + chart.x[1]) / 2
        chart.boxes([(chart.x[0], cut + 0.4, chart.x[1], cut - 0.4)], Look(fill="#ffffff"))
        chart.word(middle, cut, f"… {left_out:,} classes between are in the table …", size=SMALL - 1, colour=MUTED)
    chart.rows(places, names, worst=worst, line=line)


def _places(count: int, cut: int) -> list[int]:
    """Return the rows of the shown classes; one row stays free where classes are left out."""
    return [row if not cut or row < cut else row + 1 for row in range(count)]


def _filled(values: Sequence[float | None]) -> npt.NDArray[np.float64]:
    return np.array([np.nan if value is None else value for value in values], dtype=np.float64)
