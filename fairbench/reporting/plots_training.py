"""Plots of a training log: loss, and validation with the worst class.

A log has one JSON object per line (training.jsonl in the run folder, copied from beside the checkpoint).
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from fairbench.errors import BadInput
from fairbench.outcomes import NATURAL
from fairbench.reporting.chart import Chart, Key
from fairbench.reporting.drawing import Look, Point
from fairbench.reporting.plot_style import (
    NATURAL_COLOUR,
    ROBUST_COLOUR,
    SERIES,
    WORST_COLOUR,
    shorten,
)

Log = Sequence[Mapping[str, Any]]


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
    epochs = [epoch for epoch, _ in points]
    chart = Chart(3.3, left=0.66, bottom=0.5, top=0.5, x=around(epochs), y=(-2, 102))
    chart.x_axis("epoch", grid=False, whole=True)
    chart.y_axis("validation accuracy (%)", ticks=range(0, 101, 20))
    keys = []
    for name in attacks:
        rows = [(epoch, validation[name]) for epoch, validation in points if name in validation]
        own = NATURAL_COLOUR if name == NATURAL else ROBUST_COLOUR
        for key, dash, short in (("average", None, "average"), ("worst_class", (5.0, 2.5), "worst class")):
            look = Look(WORST_COLOUR if key == "worst_class" and name != NATURAL else own, width=1.7, dash=dash)
            line = [(float(epoch), _percent(row.get(key))) for epoch, row in rows]
            dots = Look(look.edge, look.edge)
            curve(chart, line, look, dots if len(rows) < 30 else None)
            keys.append(Key(f"{shorten(name, 10)}, {short}", look))
    chart.legend(keys)
    last = points[-1][1] if points else {}
    told = "; ".join(f"{name}: average {_percent(row.get('average')):.1f}, worst class "
                     f"{_percent(row.get('worst_class')):.1f}" for name, row in last.items())  # fmt: skip
    return chart.svg(f"Validation accuracy during training, {label}", f"Last epoch, in percent: {told}.")


def loss_curves(log: Log, label: str) -> str:
    """Return the loss and its terms over epochs, as logged (raw terms, no coefficients)."""
    logged = [(name, value) for entry in log for name, value in (entry.get("loss") or {}).items()]
    # A term that is null throughout is none: natural training has no robust term.
    terms = list(dict.fromkeys(name for name, value in logged if value is not None))
    lines = {}
    for name in sorted(terms, key=lambda term: term != "total"):
        rows = [(float(entry["epoch"]), (entry.get("loss") or {}).get(name)) for entry in log]
        lines[name] = [(epoch, float("nan") if value is None else float(value)) for epoch, value in rows]
    epochs, values = [entry["epoch"] for entry in log], [value for line in lines.values() for _, value in line]
    top = 0.1 + 0.22 * ((len(lines) + 1) // 2)
    chart = Chart(2.8 + top, left=0.66, bottom=0.5, top=top, x=around(epochs), y=around(values, 0.05))
    chart.x_axis("epoch", grid=False, whole=True)
    chart.y_axis("training loss")
    keys = []
    for place, (name, line) in enumerate(lines.items()):
        total = name == "total"
        look = Look(ROBUST_COLOUR if total else SERIES[place % len(SERIES)], width=1.7 if total else 1.2)
        curve(chart, line, look)
        keys.append(Key(shorten(name, 14), look))
    chart.legend(keys)
    return chart.svg(f"Training loss, {label}", f"Terms: {', '.join(terms)}.")


def curve(chart: Chart, line: Sequence[Point], look: Look, dots: Look | None = None) -> None:
    """Draw a curve; without a line to any neighbour a point would not be seen, so that a single one is a dot."""
    chart.lines([line], look)
    known = [point for point in line if not math.isnan(point[1])]
    if dots is not None or len(known) == 1:
        chart.marks(known, "o", 3, dots or Look(look.edge, look.edge))


def around(values: Iterable[float], share: float = 0.03) -> Point:
    """Return an interval around all values that are numbers, with a share of their range as air."""
    known = [float(value) for value in values if math.isfinite(value)]
    low, high = min(known, default=0.0), max(known, default=1.0)
    air = share * (high - low) or 0.5
    return low - air, high + air


def _percent(value: float | None) -> float:
    return float("nan") if value is None else 100 * value
