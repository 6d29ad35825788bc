"""Plots that compare runs on the same samples: worst class and average side by side, and against each other."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from fairbench.reporting.chart import Chart, Key
from fairbench.reporting.class_labels import beside_number
from fairbench.reporting.drawing import Look
from fairbench.reporting.plot_style import (
    GRID,
    MARKERS,
    MUTED,
    ROBUST_COLOUR,
    SERIES,
    WORST_COLOUR,
    axis_label,
    label_width,
    shorten,
)
from fairbench.reporting.view import SampleSet
from fairbench.reporting.words import ranked

#: Where a row holds its average and its worst class, in rows below its middle.
_AVERAGE, _WORST, _NAME = 0.13, -0.13, -0.42
_EQUAL = Look(MUTED, width=1.6)


def run_dots(sample_set: SampleSet, attack: str) -> str:
    """Return one row per run: average and worst class with 95 % intervals, and the worst class of equal classes."""
    views = ranked(sample_set, attack)
    labels = [shorten(view.label, 20) for view in views]
    bottom = len(views) - 0.4
    chart = Chart(
        0.52 * len(views) + 1.02, left=label_width(labels), bottom=0.5, top=0.5, x=(-2, 102), y=(bottom, -0.75)
    )
    chart.x_axis(axis_label(attack), ticks=range(0, 101, 20))
    found = [view.of(attack) for view in views]
    ends = [(100 * _worst(metrics), 100 * metrics["average"]) for metrics in found]
    chart.lines([[(low, y), (high, y)] for y, (low, high) in enumerate(ends)], Look(GRID, width=5, round=True))
    keys = [Key("worst class, 95 %", Look(WORST_COLOUR, width=1.5), "D", Look(WORST_COLOUR, WORST_COLOUR))]
    keys += [Key("worst if all equal", marker="|", mark=_EQUAL, size=10)]
    keys += [Key("average, 95 %", Look(ROBUST_COLOUR, width=1.5), "o", Look(ROBUST_COLOUR, ROBUST_COLOUR))]
    for key, place, colour, marker, shift in (
        ("average", 1, ROBUST_COLOUR, "o", _AVERAGE),
        ("worst_class", 0, WORST_COLOUR, "D", _WORST),
    ):
        spans = [_interval(metrics, key) for metrics in found]
        chart.lines(
            [[(low, y + shift), (high, y + shift)] for y, (low, high) in enumerate(spans)], Look(colour, width=1.5)
        )
        chart.marks([(end[place], y + shift) for y, end in enumerate(ends)], marker, 5, Look(colour, colour))
    equal = [metrics["if_equal"].get("worst_class", {}).get("expected") for metrics in found]
    chart.marks([(100 * value, y + _WORST) for y, value in enumerate(equal) if value is not None], "|", 10, _EQUAL)
    for y, (view, (worst, _)) in enumerate(zip(views, ends, strict=True)):
        name = beside_number(shorten(view.class_names[view.of(attack)["worst_class"]["index"]], 14))
        side = "left" if worst < 70 else "right"
        chart.word(worst, y + _NAME, f"{name} {worst:.1f}", anchor=side, colour=WORST_COLOUR)
    chart.rows(range(len(views)), labels)
    chart.legend(keys)
    spoken = "; ".join(
        f"{view.label}: average {average:.1f}, worst class {worst:.1f}"
        for view, (worst, average) in zip(views, ends, strict=True)
    )
    return chart.svg(f"Average and worst class of each run under {attack}", f"In percent. {spoken}.")


def average_against_worst(sample_set: SampleSet, attack: str) -> str:
    """Return runs as points: average to the right, worst class up; on the dashed line all classes would be equal."""
    views = sample_set.having(attack)
    found = [view.of(attack) for view in views]
    spans = [(_interval(metrics, "average"), _interval(metrics, "worst_class")) for metrics in found]
    acrosses, ups = [end for across, _ in spans for end in across], [end for _, up in spans for end in up]
    # The dashed line always shows: upwards there is room to the highest average.
    left, right = max(0.0, min(acrosses) - 2), min(100.0, max(acrosses) + 2)
    low, high = max(0.0, min(ups) - 3), min(100.0, max(*ups, *acrosses) + 4)
    rows = (len(views) + 1) // 2
    bottom = 0.62 + 0.215 * rows
    chart = Chart(3.0 + bottom, left=0.66, bottom=bottom, top=0.12, x=(left, right), y=(low, high))
    chart.x_axis("average (%)")
    chart.y_axis("worst class (%)")
    start, end = max(left, low), min(right, high)
    chart.lines([[(start, start), (end, end)]], Look(MUTED, dash=(4, 3)))
    (x0, y0), (x1, y1) = chart.at(start, start), chart.at(end, end)
    turn = math.degrees(math.atan2(y1 - y0, x1 - x0))
    middle = (start + end) / 2
    lift = (-8 * math.sin(math.radians(turn)), 8 * math.cos(math.radians(turn)))
    chart.word(middle, middle, "all classes equal", colour=MUTED, turn=turn, shift=lift)
    keys = []
    # By name, so that a model looks alike in the plots of every set that holds the same models.
    by_name = sorted(range(len(views)), key=lambda number: views[number].label)
    for number, (view, metrics, (across, up)) in enumerate(zip(views, found, spans, strict=True)):
        place = by_name.index(number)
        worst, average = 100 * _worst(metrics), 100 * metrics["average"]
        colour, marker = SERIES[place % len(SERIES)], MARKERS[place % len(MARKERS)]
        cross = [[(across[0], worst), (across[1], worst)], [(average, up[0]), (average, up[1])]]
        chart.lines(cross, Look(colour, width=1.1, alpha=0.75))
        look = Look("#ffffff", colour)
        chart.marks([(average, worst)], marker, 7, look)
        keys.append(Key(shorten(view.label, 24), marker=marker, mark=look, size=7))
    chart.legend(keys, top=15.5 * rows + 4)
    spoken = "; ".join(
        f"{v.label}: {100 * v.of(attack)['average']:.1f}, {100 * _worst(v.of(attack)):.1f}" for v in views
    )
    return chart.svg(f"Average against worst class under {attack}", f"Average and worst class in percent. {spoken}.")


def _worst(metrics: Mapping[str, Any]) -> float:
    return float(metrics["worst_class"]["accuracy"])


def _interval(metrics: Mapping[str, Any], key: str) -> Sequence[float]:
    low, high = metrics["interval"][key]
    return 100 * low, 100 * high
