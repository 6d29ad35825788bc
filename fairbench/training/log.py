"""The training log: one JSON object per epoch, beside the checkpoint."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from fairbench.methods.base import Method
from fairbench.runs import to_json
from fairbench.training.totals import EpochTotals
from fairbench.whole_file import write_whole


def log_line(epoch: int, optimiser: torch.optim.Optimizer, totals: EpochTotals, method: Method) -> dict[str, Any]:
    """Return an epoch's line without its validation; `epoch` counts from 1, class state is what it trained with.

    "eps" is the radius in pixel units of [0, 1], after warm-up; "class_eps" that of each class where a rule sets it.
    """
    eps = method.class_eps()
    return {
        "epoch": epoch,
        "seconds": round(totals.seconds, 3),
        "lr": optimiser.param_groups[0]["lr"],
        "eps": method.eps * method.eps_factor,
        "class_eps": None if eps is None else eps.tolist(),
        "loss": totals.means(),
        "validation": None,
        "class_state": {name: value.tolist() for name, value in method.class_state().items()},
        "numbers": method.numbers(),
        "deployed": "live",
        "forwards": totals.forwards,
        "backwards": totals.backwards,
        "teacher_forwards": totals.teacher_forwards,
        "teacher_backwards": totals.teacher_backwards,
        "skipped_steps": totals.skipped,
    }


def write_log(path: Path, lines: Sequence[Mapping[str, Any]]) -> None:
    """Write the log, whole or not at all; undefined values are null."""
    compact = (json.dumps(json.loads(to_json(line)), ensure_ascii=False, allow_nan=False) for line in lines)
    write_whole(path, "".join(f"{line}\n" for line in compact))


def spoken(line: Mapping[str, Any], epochs: int) -> str:
    """Return an epoch's line for people."""
    loss = line["loss"]["total"]
    words = [f"epoch {line['epoch']}/{epochs}", "no step taken" if loss is None else f"loss {loss:.4f}"]
    for attack, metrics in line["validation"].items():
        words.append(f"{attack} {metrics['average']:.1%} (worst class {metrics['worst_class']:.1%})")
    return ", ".join(words) + " on validation images"
