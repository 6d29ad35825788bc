"""Plots that compare runs on the same samples: worst class and average side by side, and against each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fairbench.reporting.class_labels import beside_number
from fairbench.reporting.plot_style import (
    GRID,
    MARKERS,
    MUTED,
    ROBUST_COLOUR,
    SERIES,
    SMALL,
    WORST_COLOUR,
    axis_label,
    canvas,
    label_width,
    legend_above,
    shorten,
    styled,
    to_svg,
)
from fairbench.reporting.view import SampleSet
from fairbench.reporting.words import ranked


def run_dots(sample_set: SampleSet, attack: str) -> str:
    """Return one row per run: average and worst class with 95 % intervals, and the worst class of equal classes."""
    views = ranked(sample_set, attack)
    labels = [shorten(view.label, 20) for view in views]
    with styled():
        figure, axes = canvas(0.5 * len(views) + 1.02, left=label_width(labels), bottom=0.5, top=0.5)
        for place, view in enumerate(views):
            metrics = view.of(attack)
            worst, average = 100 * _worst(metrics), 100 * metrics["average"]
            name = beside_number(shorten(view.class_names[metrics["worst_class"]["index"]], 14))
            axes.plot([worst, average], [place, place], color=GRID, linewidth=5, solid_capstyle="round", zorder=1)
            for key, value, colour, marker, shift in (
                ("average", average, ROBUST_COLOUR, "o", 0.12),
                ("worst_class", worst, WORST_COLOUR, "D", -0.12),
            ):
                low, high = _interval(metrics, key)
                axes.plot([low, high], [place + shift] * 2, color=colour, linewidth=1.5, solid_capstyle="butt")
                axes.plot([value], [place + shift], marker, color=colour, markersize=5)
            equal = metrics["if_equal"].get("worst_class", {}).get("expected")
            if equal is not None:
                axes.plot([100 * equal], [place - 0.12], "|", color=MUTED, markersize=10, markeredgewidth=1.6)
            side = "left" if worst < 70 else "right"
            axes.text(
                worst, place - 0.24, f"{name} {worst:.1f}", ha=side, va="bottom", fontsize=SMALL, color=WORST_COLOUR
            )
        axes.set_yticks(range(len(views)), labels)
        axes.tick_params(axis="y", length=0)
        axes.set(xlim=(-2, 102), ylim=(len(views) - 0.4, -0.75), xlabel=axis_label(attack))
        axes.grid(axis="x")
        axes.plot([], [], "D-", color=WORST_COLOUR, markersize=5, label="worst class, 95 %")
        axes.plot([], [], "|", color=MUTED, markersize=10, markeredgewidth=1.6, label="worst if all equal")
        axes.plot([], [], "o-", color=ROBUST_COLOUR, markersize=5, label="average, 95 %")
        legend_above(figure, axes, 2)
        spoken = "; ".join(f"{v.label}: average {100 * v.of(attack)['average']:.1f}, worst class "
                           f"{100 * _worst(v.of(attack)):.1f}" for v in views)  # fmt: skip
        return to_svg(figure, f"Average and worst class of each run under {attack}", f"In percent. {spoken}.")


def average_against_worst(sample_set: SampleSet, attack: str) -> str:
    """Return runs as points: average to the right, worst class up; on the dashed line all classes would be equal."""
    views = sample_set.having(attack)
    with styled():
        rows = (len(views) + 1) // 2
        bottom = 0.62 + 0.19 * rows
        figure, axes = canvas(3.0 + bottom, left=0.6, bottom=bottom, top=0.12)
        axes.plot([0, 100], [0, 100], color=MUTED, linewidth=1, linestyle=(0, (4, 3)))
        acrosses: list[float] = []
        ups: list[float] = []
        for place, view in enumerate(views):
            metrics = view.of(attack)
            worst, average = 100 * _worst(metrics), 100 * metrics["average"]
            across, up = _interval(metrics, "average"), _interval(metrics, "worst_class")
            acrosses += across
            ups += up
            colour, marker = SERIES[place % len(SERIES)], MARKERS[place % len(MARKERS)]
            axes.plot(across, [worst, worst], color=colour, linewidth=1.1, alpha=0.75)
            axes.plot([average, average], up, color=colour, linewidth=1.1, alpha=0.75)
            axes.plot([average], [worst], marker, color=colour, markersize=7, markeredgecolor="white",
                      label=shorten(view.label, 26))  # fmt: skip
        # The dashed line always shows: upwards there is room to the highest average.
        left, right = max(0.0, min(acrosses) - 2), min(100.0, max(acrosses) + 2)
        low, high = max(0.0, min(ups) - 3), min(100.0, max(*ups, *acrosses) + 4)
        axes.set(xlim=(left, right), ylim=(low, high), xlabel="average (%)", ylabel="worst class (%)")
        axes.grid()
        middle = (left + right) / 2
        axes.text(middle, middle, "all classes equal", ha="center", va="bottom", fontsize=SMALL, color=MUTED,
                  rotation=45, rotation_mode="anchor", transform_rotates_text=True)  # fmt: skip
        handles, names = axes.get_legend_handles_labels()
        figure.legend(handles, names, loc="lower left", ncols=2, bbox_to_anchor=(0.02, 0.0), fontsize=SMALL,
                      columnspacing=1.2, handletextpad=0.3, borderpad=0.1, labelspacing=0.35)  # fmt: skip
        spoken = "; ".join(
            f"{v.label}: {100 * v.of(attack)['average']:.1f}, {100 * _worst(v.of(attack)):.1f}" for v in views
        )
        return to_svg(
            figure, f"Average against worst class under {attack}", f"Average and worst class in percent. {spoken}."
        )


def _worst(metrics: Mapping[str, Any]) -> float:
    return float(metrics["worst_class"]["accuracy"])


def _interval(metrics: Mapping[str, Any], key: str) -> Sequence[float]:
    low, high = metrics["interval"][key]
    return 100 * low, 100 * high
