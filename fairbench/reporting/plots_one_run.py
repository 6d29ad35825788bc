"""Plots of one run beyond its class accuracies: where broken samples go, and natural against robust accuracy.

Shape key: K classes.
"""

from __future__ import annotations

import numpy as np

from fairbench.outcomes import NATURAL
from fairbench.reporting.class_labels import beside_number
from fairbench.reporting.plot_style import (
    MUTED,
    ROBUST_COLOUR,
    SMALL,
    WIDTH,
    WORST_COLOUR,
    axis_label,
    canvas,
    cells,
    heads_above,
    heads_height,
    label_width,
    share_colour,
    shorten,
    styled,
    to_svg,
)
from fairbench.reporting.plots_classes import class_order
from fairbench.reporting.view import RunView

FEW = 20
FLOWS = 25


def confusions(view: RunView, attack: str) -> list[tuple[int, int, int, float]]:
    """Return (class, predicted class, samples, share of the class) of every confusion, the largest share first."""
    table = np.array(view.of(attack)["confusion"], dtype=np.int64)
    count = table.sum(axis=1)
    found = [(int(c), int(k), int(table[c, k]), float(table[c, k] / count[c])) for c, k in np.argwhere(table) if c != k]
    return sorted(found, key=lambda flow: (-flow[3], -flow[2], flow[0], flow[1]))


def confusion_map(view: RunView, attack: str) -> str:
    """Return where each class's samples end under an attack: a K x K map up to 20 classes, else the largest flows."""
    return _matrix(view, attack) if len(view.class_names) <= FEW else _flows(view, attack)


def _matrix(view: RunView, attack: str) -> str:
    table = np.array(view.of(attack)["confusion"], dtype=np.float64)
    count = table.sum(axis=1)
    order = class_order(view.of(attack)["class_accuracy"])
    # A class without samples has no row, but samples of others may end in it.
    across = [*order, *(c for c in range(len(table)) if c not in order and table[:, c].any())]
    names, heads = ([shorten(view.class_names[c], 12) for c in classes] for classes in (order, across))
    left = label_width(names) + 0.16
    room = (WIDTH - left - 0.1) / max(len(across), 1)
    row, tall = min(room, 0.3), heads_height(heads, room)
    small = min(SMALL, 26 * room)
    with styled():
        figure, axes = canvas(row * len(order) + tall + 0.36, left=left, bottom=0.08, top=tall + 0.36, right=0.1)
        fill: list[list[str | None]] = []
        for y, c in enumerate(order):
            colours = []
            for x, k in enumerate(across):
                share = float(table[c, k] / count[c])
                colour, ink = share_colour(share, broken=c != k)
                colours.append(colour)
                if table[c, k]:
                    axes.text(x, y, f"{100 * share:.0f}", ha="center", va="center_baseline", fontsize=small, color=ink)
            fill.append([*colours])
        cells(axes, fill)
        axes.set_yticks(range(len(order)), names)
        axes.set(xlim=(-0.5, len(across) - 0.5), ylim=(len(order) - 0.5, -0.5))
        heads_above(axes, heads, room)
        axes.set_ylabel("true class", color=MUTED, fontsize=SMALL)
        title = "predicted under attack" if attack != NATURAL else "predicted"
        axes.set_title(title, color=MUTED, fontsize=SMALL, pad=8)
        return to_svg(figure, f"Confusion under {attack}, {view.label}", _spoken(view, attack))


def _flows(view: RunView, attack: str) -> str:
    flows = confusions(view, attack)[:FLOWS]
    names = [f"{shorten(view.class_names[c], 13)} → {shorten(view.class_names[k], 13)}" for c, k, _, _ in flows]
    with styled():
        figure, axes = canvas(0.22 * max(len(flows), 1) + 0.6, left=label_width(names, SMALL), bottom=0.5, right=0.3)
        for place, (_, _, _, share) in enumerate(flows):
            axes.barh(place, 100 * share, height=0.66, color=MUTED)
            axes.text(100 * share + 0.8, place, f"{100 * share:.0f}", va="center", fontsize=SMALL)
        axes.set_yticks(range(len(flows)), names, fontsize=SMALL)
        axes.tick_params(axis="y", length=0)
        axes.set(ylim=(max(len(flows), 1) - 0.4, -0.6), xlabel="share of the true class (%)")
        axes.grid(axis="x")
        return to_svg(figure, f"Largest confusions under {attack}, {view.label}", _spoken(view, attack))


def natural_against_robust(view: RunView, attack: str) -> str:
    """Return classes as points: natural accuracy to the right, robust accuracy up; the outermost are named."""
    natural, robust = view.of(NATURAL)["class_accuracy"], view.of(attack)["class_accuracy"]
    classes = [c for c in class_order(robust) if natural[c] is not None]
    worst = view.of(attack)["worst_class"]["index"]
    named = set(classes) if len(classes) <= 12 else {*classes[:4], *classes[-3:]}
    with styled():
        figure, axes = canvas(3.9, left=0.62, bottom=0.5, top=0.12)
        points = [(100 * natural[c], 100 * robust[c]) for c in classes]
        left = max(0.0, min((x for x, _ in points), default=0.0) - 6)
        # Room on the right for the names of points near 100 %.
        right = min(112.0, max((x for x, _ in points), default=100.0) + 0.16 * (106 - left))
        axes.plot([0, 100], [0, 100], color=MUTED, linewidth=1, linestyle=(0, (4, 3)))
        for (x, y), c in zip(points, classes, strict=True):
            colour = WORST_COLOUR if c == worst else ROBUST_COLOUR
            axes.plot(
                [x], [y], "D" if c == worst else "o", color=colour, markersize=6, alpha=0.85, markeredgecolor="white"
            )
        labels = [shorten(view.class_names[c], 12) if c in named else "" for c in classes]
        sides = _sides(points, labels, (WIDTH - 0.76) / (right - left), left, right)
        for point, c, label, side in zip(points, classes, labels, sides, strict=True):
            if side:
                axes.annotate(label, point, (5 * side, -3), textcoords="offset points", fontsize=SMALL,
                              ha="left" if side > 0 else "right",
                              color=WORST_COLOUR if c == worst else ROBUST_COLOUR)  # fmt: skip
        axes.set(xlim=(left, right), ylim=(-3, 103), xlabel="natural accuracy (%)",
                 ylabel=axis_label(attack))  # fmt: skip
        axes.set_xticks([tick for tick in axes.get_xticks() if left <= tick <= 100])
        axes.set(xlim=(left, right))
        axes.grid()
        return to_svg(
            figure, f"Natural against robust accuracy per class, {attack}, {view.label}",
            f"One point per class; the lowest is {view.class_names[worst]}. Values are in the table beside the plot.",
        )  # fmt: skip


def _sides(
    points: list[tuple[float, float]], labels: list[str], inches: float, lowest: float, highest: float
) -> list[int]:
    """Return on which side of its point each label fits: 1 right, -1 left, 0 nowhere (the table has it).

    `inches` is how wide one unit of x is drawn; x runs from `lowest` to `highest`.
    """
    taken = [(x - 0.05 / inches, x + 0.05 / inches, y) for x, y in points]
    sides = []
    for (x, y), label in zip(points, labels, strict=True):
        width, start, chosen = label_width([label], SMALL) / inches, 0.05 / inches, 0
        for side in (1, -1) if label else ():
            low, high = sorted((x + side * start, x + side * (start + width)))
            if low < lowest or high > highest:
                continue
            if not any(a < high and low < b and abs(y - other) < 4.4 for a, b, other in taken):
                taken.append((low, high, y))
                chosen = side
                break
        sides.append(chosen)
    return sides


def _spoken(view: RunView, attack: str) -> str:
    largest = confusions(view, attack)[:3]
    told = "; ".join(
        f"{beside_number(view.class_names[c])} to {beside_number(view.class_names[k])} {100 * share:.0f} %"
        for c, k, _, share in largest
    )
    return f"Share of each true class in percent. Largest confusions: {told or 'none'}."
