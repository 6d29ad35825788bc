"""Plots of a diagnosis: confusion as a directed graph, and the sweep of Temperature-PGD.

Shape key: K classes, S superclasses.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.path import Path

from fairbench.metrics.classwise import worst_class
from fairbench.metrics.diagnosis import Diagnosis
from fairbench.metrics.flows import Edge, Flows, flows
from fairbench.reporting.chart import Chart, Key
from fairbench.reporting.drawing import Drawing, Look, Point
from fairbench.reporting.plot_style import (
    MUTED,
    ROBUST_COLOUR,
    SMALL,
    WIDTH,
    WORST_COLOUR,
    label_width,
    share_colour,
    shorten,
)

#: More nodes than this make no graph that can be read.
NODES = 20
#: Up to here there is room for long names around the circle.
_FEW = 12
_LEAST = 0.02
_MANY = 0.08
#: The radius of a node, and how far an arrow bends aside, as a share of its length.
_RADIUS = 13.0
_BEND = 0.16


def graph_nodes(found: Diagnosis) -> str:
    """Return what the graph's nodes are: "classes", "superclasses" where those are few, "" where there is no graph."""
    if not found.flows.edges:
        return ""
    if len(found.count) <= NODES:
        return "classes" if len(found.count) > 1 else ""
    if found.superclasses is not None and len(found.superclasses.names) <= NODES:
        return "superclasses"
    return ""


def flow_graph(found: Diagnosis, names: Sequence[str], label: str) -> str:
    """Return the graph: nodes on a circle, kin side by side, darker where more robust; arrows as wide as their share.

    Drawn are each node's largest arrow from 2 % of the node's images on, and every arrow from 8 % on; those that leave
    the worst node are orange.
    """
    if graph_nodes(found) == "superclasses":
        assert found.kin is not None
        assert found.superclasses is not None
        graph, accuracy, words = flows(found.kin.confusion), found.kin.accuracy, list(found.superclasses.names)
        order = list(range(len(words)))
    else:
        graph, accuracy, words = found.flows, found.robust, list(names)
        home = found.superclasses.of_class if found.superclasses is not None else (0,) * len(words)
        order = sorted(range(len(words)), key=lambda c: (home[c], c))
    worst = worst_class(accuracy)
    labels = {c: shorten(words[c], 14 if len(order) <= _FEW else 11) for c in order}
    width = 72 * WIDTH
    margin = 72 * label_width(list(labels.values()), SMALL) + _RADIUS + 3
    ring = (width - 2 * margin) / 2
    height = 2 * ring + 2 * _RADIUS + 50
    angle = {c: math.pi / 2 - 2 * math.pi * place / len(order) for place, c in enumerate(order)}
    at = {c: (width / 2 + ring * math.cos(a), height / 2 + ring * math.sin(a)) for c, a in angle.items()}
    # Neighbours on a full circle do not touch.
    radius = min(_RADIUS, 0.9 * ring * math.sin(math.pi / max(len(order), 2)))
    sheet = Drawing(width, height)
    for edge in reversed(_shown(graph)):
        _arrow(sheet, edge, at, radius, from_worst=edge.source == worst)
    for c in order:
        _node(sheet, at[c], angle[c], accuracy[c], labels[c], radius, worst=c == worst)
    told = "; ".join(f"{words[e.source]} to {words[e.target]} {100 * e.share_of_class:.0f} %" for e in graph.edges[:4])
    return sheet.svg(f"Where samples go under {found.attack}, {label}", f"Largest arrows: {told}.")


def _shown(graph: Flows) -> list[Edge]:
    main = {(e.source, e.target) for c in range(len(graph.count)) for e in [graph.main_target(c)] if e is not None}
    return [
        e for e in graph.edges
        if e.share_of_class >= _MANY or ((e.source, e.target) in main and e.share_of_class >= _LEAST)
    ]  # fmt: skip


def _arrow(sheet: Drawing, edge: Edge, at: dict[int, Point], radius: float, *, from_worst: bool) -> None:
    """Draw a bent arrow from the rim of one node to the rim of another."""
    width = 0.6 + 9 * min(edge.share_of_class, 0.6)
    source, target = np.array(at[edge.source]), np.array(at[edge.target])
    across = target - source
    control = (source + target) / 2 + _BEND * np.array([across[1], -across[0]])
    # Along the curve from one centre to the other, what lies outside both nodes.
    t = np.linspace(0, 1, 201)[:, None]
    curve = (1 - t) ** 2 * source + 2 * t * (1 - t) * control + t**2 * target
    long, wide = 2 * (2.6 + width / 2), 2 * (1.4 + width / 2)
    away, left = np.hypot(*(curve - source).T), np.hypot(*(curve - target).T)
    tip, base = curve[left >= radius][-1], curve[left >= min(radius + long, left.max())][-1]
    look = Look(WORST_COLOUR if from_worst else MUTED, width=width, alpha=0.9 if from_worst else 0.6)
    outside = t[(away >= radius) & (left >= radius + 0.8 * long), 0]
    if outside.size:
        start, stop = float(outside[0]), float(outside[-1])
        ends = [(1 - s) ** 2 * source + 2 * s * (1 - s) * control + s**2 * target for s in (start, stop)]
        # The blossom of a quadratic curve: the control point of its part between two parameters.
        middle = (1 - start) * (1 - stop) * source + (start + stop - 2 * start * stop) * control + start * stop * target
        sheet.path(Path([ends[0], middle, ends[1]], [Path.MOVETO, Path.CURVE3, Path.CURVE3]), look)
    along = (tip - base) / max(float(np.hypot(*(tip - base))), 1e-9)
    side = wide / 2 * np.array([-along[1], along[0]])
    head = [tip, base + side, base - side, tip]
    sheet.path(
        Path(head, [Path.MOVETO, Path.LINETO, Path.LINETO, Path.CLOSEPOLY]), Look(fill=look.edge, alpha=look.alpha)
    )


def _node(
    sheet: Drawing, place: Point, angle: float, accuracy: float, word: str, radius: float, *, worst: bool
) -> None:
    known = not math.isnan(accuracy)
    fill, ink = share_colour(float(accuracy)) if known else ("#ffffff", MUTED)
    rim = Look(WORST_COLOUR if worst else MUTED, fill, 2 if worst else 0.8)
    sheet.marks([place], "o", 2 * radius, rim)
    if known:
        sheet.word(place, f"{100 * accuracy:.0f}", size=min(SMALL, radius), colour=ink, anchor="middle")
    side, rise = math.cos(angle), math.sin(angle)
    steep = abs(side) < 0.35
    away = radius + 4
    to = (
        (place[0], place[1] + math.copysign(away + 6, rise))
        if steep
        else (place[0] + math.copysign(away, side), place[1])
    )
    sheet.word(
        to, word, size=SMALL, anchor="middle" if steep else "left" if side > 0 else "right",
        colour=WORST_COLOUR if worst else ROBUST_COLOUR, bold=worst,
    )  # fmt: skip


def temperature_curve(found: Diagnosis, label: str) -> str:
    """Return average and worst class under Temperature-PGD over T, beside PGD's (lines without markers)."""
    sweep = found.temperatures
    t = [one.temperature for one in sweep]
    after = [one.gain.pairs for one in sweep]
    average = [float(100 * (p.both + p.gained).sum() / p.count.sum()) for p in after]
    lowest = [float(100 * np.nanmin(p.after)) for p in after]
    before = after[0]
    plain = sweep[0].gain.weaker
    logs = [math.log10(value) for value in t]
    air = 0.05 * (logs[-1] - logs[0]) or 0.5
    chart = Chart(3.3, left=0.66, bottom=0.5, top=0.5, x=(min(logs) - air, max(logs) + air), y=(0, 100))
    chart.y_axis("accuracy (%)", ticks=range(0, 101, 20))
    chart.x_axis("temperature T", ticks=logs, names=[f"{value:g}" for value in t], grid=False)
    keys = []
    for name, level, look in (
        ("average", (before.both + before.lost).sum() / before.count.sum(), Look(MUTED, dash=(4, 3))),
        ("worst class", float(np.nanmin(before.before)), Look(WORST_COLOUR, dash=(1, 2))),
    ):
        chart.lines([[(x, 100 * float(level)) for x in chart.x]], look)
        keys.append(Key(f"{shorten(plain, 12)}, {name}", look))
    for name, values, colour, marker in (
        ("average", average, ROBUST_COLOUR, "o"),
        ("worst class", lowest, WORST_COLOUR, "D"),
    ):
        look, filled = Look(colour, width=1.5), Look(colour, colour)
        chart.lines([list(zip(logs, values, strict=True))], look)
        chart.marks(zip(logs, values, strict=True), marker, 5, filled)
        keys.append(Key(f"at T, {name}", look, marker, filled))
    chart.legend(keys)
    best = min(range(len(t)), key=lambda i: (average[i], i))
    return chart.svg(
        f"Accuracy under Temperature-PGD over T, {label}",
        f"Lowest average {average[best]:.1f} % at T = {t[best]:g}. All values are in the table beside the plot.",
    )
