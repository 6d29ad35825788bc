"""Plots with one row per class: accuracy with its interval, and maps of class x attack and class x run.

Shape key: K classes; accuracies are fractions in the metrics and percent in the plots.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.patches import Rectangle

from fairbench.outcomes import NATURAL
from fairbench.reporting.class_labels import beside_number
from fairbench.reporting.plot_style import (
    BAND,
    GRID,
    MUTED,
    NATURAL_COLOUR,
    ROBUST_COLOUR,
    SMALL,
    WIDTH,
    WORST_COLOUR,
    canvas,
    cells,
    heads_above,
    heads_height,
    label_width,
    legend_above,
    share_colour,
    shorten,
    styled,
    to_svg,
)
from fairbench.reporting.view import RunView, SampleSet

MANY = 40
LOWEST, HIGHEST = 22, 8


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
    with styled():
        height = 0.225 * (max(places, default=0) + 1) + 1.06
        figure, axes = canvas(height, left=label_width(names), bottom=0.5, top=0.5)
        equal = metrics["if_equal"].get("worst_class", {}).get("range")
        if attack != NATURAL and equal and None not in equal:
            axes.axvspan(100 * equal[0], 100 * equal[1], color=BAND, linewidth=0, label="lowest, if all equal")
        axes.axvline(100 * metrics["average"], color=MUTED, linewidth=1, linestyle=(0, (4, 3)), label="average")
        worst = metrics["worst_class"]["index"]
        natural = view.of(NATURAL)["class_accuracy"] if attack != NATURAL and NATURAL in view.attacks else None
        for place, c in zip(places, shown, strict=True):
            colour = WORST_COLOUR if c == worst else ROBUST_COLOUR
            low, high = metrics["class_interval"][c]
            axes.plot([100 * low, 100 * high], [place, place], color=colour, linewidth=1.6, solid_capstyle="butt")
            axes.plot([100 * accuracy[c]], [place], "D" if c == worst else "o", color=colour, markersize=5)
        if natural is not None:
            axes.plot(
                [100 * natural[c] for c in shown], places, "o", markerfacecolor="white", markeredgecolor=NATURAL_COLOUR,
                markersize=4.6, markeredgewidth=1.2, label="natural", zorder=1.5,
            )  # fmt: skip
        axes.plot(
            [],
            [],
            "o-",
            color=ROBUST_COLOUR,
            markersize=5,
            linewidth=1.6,
            label=f"{shorten(attack, 14)}, 95 % interval",
        )
        _class_axis(axes, places, names, cut)
        for label, c in zip(axes.get_yticklabels(), shown, strict=True):
            if c == worst:
                label.set(color=WORST_COLOUR, fontweight="bold")
        axes.set(xlim=(-2, 102), xlabel="accuracy (%)")
        axes.grid(axis="x")
        legend_above(figure, axes, 2)
        skipped = f" The {len(class_order(accuracy)) - len(shown)} classes between are left out." if cut else ""
        return to_svg(
            figure,
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
    with styled():
        figure, axes = canvas(0.225 * rows + top + 0.1, left=left, bottom=0.1, top=top, right=0.1)
        fill: list[list[str | None]] = [[None] * len(heads) for _ in range(rows)]
        for column, metrics in enumerate(columns.values()):
            worst = metrics["worst_class"]["index"]
            for place, c in zip(places, shown, strict=True):
                value = metrics["class_accuracy"][c]
                if value is None:
                    continue
                fill[place][column], ink = share_colour(value)
                axes.text(
                    column, place, f"{100 * value:.0f}", ha="center", va="center_baseline", fontsize=SMALL, color=ink,
                    fontweight="bold" if c == worst else "normal",
                )  # fmt: skip
                if c == worst:
                    box = (column - 0.46, place - 0.43)
                    axes.add_patch(
                        Rectangle(box, 0.92, 0.86, fill=False, edgecolor=WORST_COLOUR, linewidth=2, zorder=3)
                    )
        cells(axes, fill)
        _class_axis(axes, places, names, cut)
        axes.set(xlim=(-0.5, len(heads) - 0.5), ylim=(rows - 0.5, -0.5))
        heads_above(axes, heads, room)
        return to_svg(figure, title, f"{spoken} The lowest class of each column has a frame. In percent.")


def _class_axis(axes: Any, places: Sequence[int], names: Sequence[str], cut: int) -> None:
    axes.set_yticks(places, names)
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(max(places, default=0) + 0.7, -0.7)
    if cut:
        axes.axhline(cut, color=GRID, linewidth=6)
        axes.text(
            1.0, cut, "classes between: see the table", transform=axes.get_yaxis_transform(), ha="right", va="center",
            fontsize=8, color=MUTED,
        )  # fmt: skip


def _places(count: int, cut: int) -> list[int]:
    """Return the rows of the shown classes; one row stays free where classes are left out."""
    return [row if not cut or row < cut else row + 1 for row in range(count)]


def _filled(values: Sequence[float | None]) -> npt.NDArray[np.float64]:
    return np.array([np.nan if value is None else value for value in values], dtype=np.float64)
