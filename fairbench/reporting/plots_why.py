"""Plots of a diagnosis: confusion as a directed graph, and the sweep of Temperature-PGD.

Shape key: K classes, S superclasses.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Circle, FancyArrowPatch

from fairbench.metrics.classwise import worst_class
from fairbench.metrics.diagnosis import Diagnosis
from fairbench.metrics.flows import Edge, Flows, flows
from fairbench.reporting.plot_style import (
    MUTED,
    ROBUST_COLOUR,
    SMALL,
    WIDTH,
    WORST_COLOUR,
    canvas,
    label_width,
    legend_above,
    share_colour,
    shorten,
    styled,
    to_svg,
)

#: More nodes than this make no graph that can be read.
NODES = 20
_LEAST = 0.02
_MANY = 0.08
_RADIUS = 0.17


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
    labels = [shorten(words[c], 14) for c in order]
    margin = label_width(labels, SMALL) + _RADIUS + 0.05
    ring = (WIDTH - 2 * margin) / 2
    height = 2 * ring + 2 * _RADIUS + 0.7
    centre = (WIDTH / 2, height / 2)
    angle = {c: math.pi / 2 - 2 * math.pi * place / len(order) for place, c in enumerate(order)}
    at = {c: (centre[0] + ring * math.cos(a), centre[1] + ring * math.sin(a)) for c, a in angle.items()}
    with styled():
        figure, axes = canvas(height, left=0, bottom=0, top=0, right=0)
        axes.set(xlim=(0, WIDTH), ylim=(0, height))
        axes.set_axis_off()
        for edge in reversed(_shown(graph)):
            axes.add_artist(_arrow(edge, at, from_worst=edge.source == worst))
        for c in order:
            _node(axes, at[c], angle[c], accuracy[c], shorten(words[c], 14), worst=c == worst)
        told = "; ".join(
            f"{words[e.source]} to {words[e.target]} {100 * e.share_of_class:.0f} %" for e in graph.edges[:4]
        )
        return to_svg(figure, f"Where samples go under {found.attack}, {label}", f"Largest arrows: {told}.")


def _shown(graph: Flows) -> list[Edge]:
    main = {(e.source, e.target) for c in range(len(graph.count)) for e in [graph.main_target(c)] if e is not None}
    return [
        e for e in graph.edges
        if e.share_of_class >= _MANY or ((e.source, e.target) in main and e.share_of_class >= _LEAST)
    ]  # fmt: skip


def _arrow(edge: Edge, at: dict[int, tuple[float, float]], *, from_worst: bool) -> FancyArrowPatch:
    width = 0.6 + 9 * min(edge.share_of_class, 0.6)
    return FancyArrowPatch(
        at[edge.source], at[edge.target], connectionstyle="arc3,rad=0.16", shrinkA=72 * _RADIUS, shrinkB=72 * _RADIUS,
        arrowstyle=f"-|>,head_length={2.6 + width / 2:.1f},head_width={1.4 + width / 2:.1f}", linewidth=width,
        color=WORST_COLOUR if from_worst else MUTED, alpha=0.9 if from_worst else 0.6, capstyle="butt",
        joinstyle="miter", mutation_scale=1,
    )  # fmt: skip


def _node(axes: Axes, place: tuple[float, float], angle: float, accuracy: float, word: str, *, worst: bool) -> None:
    fill, ink = ("#ffffff", MUTED) if math.isnan(accuracy) else share_colour(float(accuracy))
    axes.add_artist(
        Circle(
            place, _RADIUS, facecolor=fill, edgecolor=WORST_COLOUR if worst else MUTED,
            linewidth=2 if worst else 0.8, zorder=3,
        )
    )  # fmt: skip
    if not math.isnan(accuracy):
        axes.text(
            *place, f"{100 * accuracy:.0f}", ha="center", va="center_baseline", fontsize=SMALL, color=ink, zorder=4
        )
    away = _RADIUS + 0.06
    side, rise = math.cos(angle), math.sin(angle)
    steep = abs(side) < 0.35
    axes.text(
        place[0] + (0 if steep else math.copysign(away, side)),
        place[1] + (math.copysign(away + 0.07, rise) if steep else 0),
        word, fontsize=SMALL, va="center_baseline", ha="center" if steep else "left" if side > 0 else "right",
        color=WORST_COLOUR if worst else ROBUST_COLOUR, fontweight="bold" if worst else "normal", zorder=4,
    )  # fmt: skip


def temperature_curve(found: Diagnosis, label: str) -> str:
    """Return average and worst class under Temperature-PGD over T, beside PGD's (lines without markers)."""
    sweep = found.temperatures
    t = [one.temperature for one in sweep]
    after = [one.gain.pairs for one in sweep]
    average = [float(100 * (p.both + p.gained).sum() / p.count.sum()) for p in after]
    lowest = [float(100 * np.nanmin(p.after)) for p in after]
    before = after[0]
    with styled():
        figure, axes = canvas(3.3, left=0.62, bottom=0.5, top=0.5)
        plain = sweep[0].gain.weaker
        axes.axhline(100 * (before.both + before.lost).sum() / before.count.sum(), color=MUTED, linewidth=1,
                     linestyle=(0, (4, 3)), label=f"{shorten(plain, 12)}, average")  # fmt: skip
        axes.axhline(100 * float(np.nanmin(before.before)), color=WORST_COLOUR, linewidth=1, linestyle=(0, (1, 2)),
                     label=f"{shorten(plain, 12)}, worst class")  # fmt: skip
        axes.plot(t, average, "o-", color=ROBUST_COLOUR, markersize=5, label="at T, average")
        axes.plot(t, lowest, "D-", color=WORST_COLOUR, markersize=5, label="at T, worst class")
        axes.set_xscale("log")
        axes.set_xticks(t, [f"{value:g}" for value in t])
        axes.minorticks_off()
        axes.set(ylim=(0, 100), xlabel="temperature T", ylabel="accuracy (%)")
        axes.grid(axis="y")
        legend_above(figure, axes, 2)
        best = min(range(len(t)), key=lambda i: (average[i], i))
        return to_svg(
            figure, f"Accuracy under Temperature-PGD over T, {label}",
            f"Lowest average {average[best]:.1f} % at T = {t[best]:g}. All values are in the table beside the plot.",
        )  # fmt: skip
