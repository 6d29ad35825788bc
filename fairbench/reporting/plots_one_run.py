"""Plots of one run beyond its class accuracies: where broken samples go, and natural against robust accuracy.

Shape key: K classes.
"""

from __future__ import annotations

import numpy as np

from fairbench.outcomes import NATURAL
from fairbench.reporting.chart import Chart, heads_height, nice_ticks
from fairbench.reporting.class_labels import beside_number
from fairbench.reporting.drawing import Look
from fairbench.reporting.plot_style import (
    MUTED,
    ROBUST_COLOUR,
    SMALL,
    WIDTH,
    WORST_COLOUR,
    axis_label,
    label_width,
    share_colour,
    shorten,
)
from fairbench.reporting.plots_classes import class_order
from fairbench.reporting.view import RunView

FEW = 20
FLOWS = 25


def confusions(view: RunView, attack: str) -> list[tuple[int, int, int, float]]:
    """Return (class, predicted class, samples, share of the class) of every confusion, the largest share first."""
    table = np.array(view.of(attack)["confusion"], dtype=np.int64)
    c, k = np.nonzero(table)
    c, k = c[c != k], k[c != k]
    columns = (c, k, table[c, k], table[c, k] / table.sum(axis=1)[c])
    found = list(zip(*(column.tolist() for column in columns), strict=True))
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
    left = label_width(names) + 0.2
    room = (WIDTH - left - 0.1) / max(len(across), 1)
    row, tall = min(room, 0.3), heads_height(heads, room)
    small = min(SMALL, 29 * room)
    chart = Chart(
        row * len(order) + tall + 0.36, left=left, bottom=0.08, top=tall + 0.36 - 0.08, right=0.1,
        x=(-0.5, len(across) - 0.5), y=(len(order) - 0.5, -0.5),
    )  # fmt: skip
    filled: dict[str, list[tuple[float, float, float, float]]] = {}
    for y, c in enumerate(order):
        for x, k in enumerate(across):
            share = float(table[c, k] / count[c])
            colour, ink = share_colour(share, broken=c != k)
            filled.setdefault(colour, []).append((x - 0.5, y + 0.5, x + 0.5, y - 0.5))
            if table[c, k]:
                chart.word(x, y, f"{100 * share:.0f}", size=small, colour=ink)
    for colour, boxes in filled.items():
        chart.boxes(boxes, Look("#ffffff", colour, 0.8))
    chart.rows(range(len(order)), names, line=False)
    chart.heads(heads)
    sheet = chart.drawing
    middle = (chart.left + chart.right) / 2, (chart.bottom + chart.top) / 2
    title = "predicted under attack" if attack != NATURAL else "predicted"
    sheet.word((middle[0], sheet.height - 8), title, size=SMALL, colour=MUTED, anchor="middle")
    sheet.word((8, middle[1]), "true class", size=SMALL, colour=MUTED, anchor="middle", turn=90)
    return chart.svg(f"Confusion under {attack}, {view.label}", _spoken(view, attack))


def _flows(view: RunView, attack: str) -> str:
    flows = confusions(view, attack)[:FLOWS]
    names = [f"{shorten(view.class_names[c], 13)} → {shorten(view.class_names[k], 13)}" for c, k, _, _ in flows]
    rows = max(len(flows), 1)
    ticks = nice_ticks(0, 100 * max([share for *_, share in flows], default=1.0))
    right = max(100 * flows[0][3] if flows else 100.0, ticks[-1])
    chart = Chart(
        0.22 * rows + 0.6,
        left=label_width(names, SMALL),
        bottom=0.5,
        top=0.1,
        right=0.34,
        x=(0, right),
        y=(rows - 0.4, -0.6),
    )
    chart.x_axis("share of the true class (%)", ticks=ticks)
    chart.boxes([(0, y + 0.33, 100 * share, y - 0.33) for y, (*_, share) in enumerate(flows)], Look(fill=MUTED))
    for place, (*_, share) in enumerate(flows):
        chart.word(100 * share, place, f"{100 * share:.0f}", anchor="left", shift=(3, 0))
    chart.rows(range(len(flows)), names, size=SMALL)
    return chart.svg(f"Largest confusions under {attack}, {view.label}", _spoken(view, attack))


def natural_against_robust(view: RunView, attack: str) -> str:
    """Return classes as points: natural accuracy to the right, robust accuracy up; the outermost are named."""
    natural, robust = view.of(NATURAL)["class_accuracy"], view.of(attack)["class_accuracy"]
    classes = [c for c in class_order(robust) if natural[c] is not None]
    worst = view.of(attack)["worst_class"]["index"]
    named = set(classes) if len(classes) <= 12 else {*classes[:4], *classes[-3:]}
    points = [(100 * natural[c], 100 * robust[c]) for c in classes]
    left = max(0.0, min((x for x, _ in points), default=0.0) - 6)
    # Room on the right for the names of points near 100 %.
    right = min(112.0, max((x for x, _ in points), default=100.0) + 0.16 * (106 - left))
    chart = Chart(3.9, left=0.66, bottom=0.5, top=0.12, x=(left, right), y=(-3, 103))
    chart.x_axis("natural accuracy (%)", ticks=[tick for tick in nice_ticks(left, right) if tick <= 100])
    chart.y_axis(axis_label(attack), ticks=range(0, 101, 20))
    ends = left, min(100.0, right)
    chart.lines([[(end, end) for end in ends]], Look(MUTED, dash=(4, 3)))
    for low, colour, marker in ((False, ROBUST_COLOUR, "o"), (True, WORST_COLOUR, "D")):
        own = [point for point, c in zip(points, classes, strict=True) if (c == worst) == low]
        chart.marks(own, marker, 6, Look("#ffffff", colour, alpha=0.85))
    labels = [shorten(view.class_names[c], 12) if c in named else "" for c in classes]
    sides = _sides(points, labels, (WIDTH - 0.82) / (right - left), left, right)
    for (x, y), c, label, side in zip(points, classes, labels, sides, strict=True):
        if side:
            chart.word(x, y, label, anchor="left" if side > 0 else "right", shift=(5 * side, 0),
                       colour=WORST_COLOUR if c == worst else ROBUST_COLOUR)  # fmt: skip
    return chart.svg(
        f"Natural against robust accuracy per class, {attack}, {view.label}",
        f"One point per class; the lowest is {view.class_names[worst]}. Values are in the table beside the plot.",
    )


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
            if not any(a < high and low < b and abs(y - other) < 5 for a, b, other in taken):
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
