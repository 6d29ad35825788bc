"""Plots of a training log: loss, validation with the worst class, and what a method holds per class.

A log has one JSON object per line (training.jsonl in the run folder, copied from beside the checkpoint).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.ticker import MaxNLocator

from fairbench.errors import BadInput
from fairbench.outcomes import NATURAL
from fairbench.reporting.plot_style import (
    MARKERS,
    NATURAL_COLOUR,
    ROBUST_COLOUR,
    SERIES,
    SMALL,
    WORST_COLOUR,
    canvas,
    legend_above,
    shorten,
    styled,
    to_svg,
)

Log = Sequence[Mapping[str, Any]]
NAMED = 8


def read_log(path: Path) -> list[dict[str, Any]]:
    """Read a training log; a last line that a kill cut short is left out.

    Raises:
        BadInput: a line that is no JSON object with an epoch.
    """
    lines = Path(path).read_text(encoding="utf-8", errors="replace").splitlines()
    log: list[dict[str, Any]] = []
    for place, line in enumerate(lines, start=1):
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError):
            if place == len(lines):
                break
            entry = None
        if not isinstance(entry, dict) or not isinstance(entry.get("epoch"), int):
            raise BadInput(f"line {place} of the training log {str(path)[-120:]!r} is not a JSON object with an epoch.")
        log.append(entry)
    return log


def validated(log: Log) -> list[tuple[int, Mapping[str, Any]]]:
    """Return (epoch, validation) of the epochs that were validated."""
    return [(entry["epoch"], entry["validation"]) for entry in log if entry.get("validation")]


def training_curves(log: Log, label: str) -> str:
    """Return validation accuracy over epochs: average and worst class, natural and under the validation attack."""
    points = validated(log)
    attacks = list(dict.fromkeys(name for _, validation in points for name in validation))
    with styled():
        figure, axes = canvas(3.3, left=0.6, bottom=0.5, top=0.5)
        for name in attacks:
            epochs = [epoch for epoch, validation in points if name in validation]
            rows = [validation[name] for _, validation in points if name in validation]
            colour = NATURAL_COLOUR if name == NATURAL else ROBUST_COLOUR
            for key, style, tone in (("average", "-", colour), ("worst_class", (0, (4, 2)), colour)):
                tone = WORST_COLOUR if key == "worst_class" and name != NATURAL else tone
                short = "worst class" if key == "worst_class" else "average"
                axes.plot(epochs, [_percent(row.get(key)) for row in rows], color=tone, linestyle=style, linewidth=1.7,
                          marker="." if len(epochs) < 30 else "", label=f"{shorten(name, 10)}, {short}")  # fmt: skip
        axes.set(ylim=(-2, 102), xlabel="epoch", ylabel="validation accuracy (%)")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(axis="y")
        legend_above(figure, axes, 2)
        last = points[-1][1] if points else {}
        told = "; ".join(f"{name}: average {_percent(row.get('average')):.1f}, worst class "
                         f"{_percent(row.get('worst_class')):.1f}" for name, row in last.items())  # fmt: skip
        return to_svg(figure, f"Validation accuracy during training, {label}", f"Last epoch, in percent: {told}.")


def loss_curves(log: Log, label: str) -> str:
    """Return the loss and its terms over epochs, as logged (raw terms, no coefficients)."""
    terms = list(dict.fromkeys(name for entry in log for name in entry.get("loss") or {}))
    with styled():
        figure, axes = canvas(3.0, left=0.6, bottom=0.5, top=0.5)
        for place, name in enumerate(sorted(terms, key=lambda term: term != "total")):
            rows = [(entry["epoch"], (entry.get("loss") or {}).get(name)) for entry in log]
            axes.plot(*_defined(rows), color=ROBUST_COLOUR if name == "total" else SERIES[place % len(SERIES)],
                      linewidth=1.7 if name == "total" else 1.2, label=shorten(name, 14))  # fmt: skip
        axes.set(xlabel="epoch", ylabel="training loss")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(axis="y")
        legend_above(figure, axes, 2)
        return to_svg(figure, f"Training loss, {label}", f"Terms: {', '.join(terms)}.")


def class_state_curves(log: Log, buffer: str, class_names: Sequence[str], label: str) -> str:
    """Return one line per class of a per-class value that the method holds (temperature, weight, radius) over epochs.

    The classes that end highest and lowest are named; the others are grey.
    """
    rows = [(entry["epoch"], (entry.get("class_state") or {}).get(buffer)) for entry in log]
    kept = [
        (epoch, np.array([np.nan if v is None else v for v in row], dtype=np.float64)) for epoch, row in rows if row
    ]
    kept = [(epoch, row) for epoch, row in kept if row.shape == (len(class_names),)]
    epochs, values = [epoch for epoch, _ in kept], np.array([row for _, row in kept])
    order = [int(c) for c in np.argsort(-values[-1], kind="stable") if not np.isnan(values[-1, c])] if kept else []
    named = order if len(order) <= NAMED else [*order[: NAMED // 2], *order[-NAMED // 2 :]]
    with styled():
        figure, axes = canvas(3.2, left=0.62, bottom=0.5, top=0.12, right=1.2)
        for c in order:
            if c not in named:
                axes.plot(epochs, values[:, c], color="#c3cad1", linewidth=0.9)
        for place, c in enumerate(named):
            axes.plot(epochs, values[:, c], color=SERIES[place % len(SERIES)], linewidth=1.5,
                      marker=MARKERS[place % len(MARKERS)], markersize=4, markevery=[-1],
                      label=shorten(class_names[c], 14))  # fmt: skip
        axes.set(xlabel="epoch", ylabel=shorten(buffer.replace("_", " "), 32))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(axis="y")
        if named:
            figure.legend(*axes.get_legend_handles_labels(), loc="upper right", bbox_to_anchor=(1.0, 0.97),
                          fontsize=SMALL, handlelength=1.2, handletextpad=0.4, borderpad=0.1)  # fmt: skip
        told = f"At the end highest for {class_names[order[0]]}, lowest for {class_names[order[-1]]}." if order else ""
        return to_svg(figure, f"{buffer} per class during training, {label}", told)


def state_buffers(log: Log, num_classes: int) -> list[str]:
    """Return the per-class values that the log holds for these classes and that ever differ from their start."""
    found = []
    for name in dict.fromkeys(name for entry in log for name in entry.get("class_state") or {}):
        rows = [(entry.get("class_state") or {}).get(name) for entry in log]
        rows = [row for row in rows if isinstance(row, list) and len(row) == num_classes]
        if len(rows) > 1 and any(row != rows[0] for row in rows):
            found.append(str(name))
    return found


def _defined(rows: Sequence[tuple[int, float | None]]) -> tuple[list[int], list[float]]:
    kept = [(epoch, value) for epoch, value in rows if value is not None]
    return [epoch for epoch, _ in kept], [value for _, value in kept]


def _percent(value: float | None) -> float:
    return float("nan") if value is None else 100 * value
