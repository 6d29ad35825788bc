"""What an epoch sums up for its line in the log."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from fairbench import distributed
from fairbench.methods.base import StepLoss

#: What is counted in samples, over all processes.
COUNTS = ("forwards", "backwards", "teacher_forwards", "teacher_backwards")


@dataclass
class EpochTotals:
    """Sums over this process's samples of an epoch so far.

    Attributes:
        sums: of the total and of each raw term.
        rows: samples that took part in a step.
        skipped: steps that were skipped, of all processes together.
        seconds: spent in steps.
        forwards: samples run through the student; `backwards` those whose gradient came back.
        teacher_forwards: the same of all teachers together; `teacher_backwards` likewise.
    """

    sums: dict[str, float] = field(default_factory=dict)
    rows: float = 0
    skipped: int = 0
    seconds: float = 0.0
    forwards: int = 0
    backwards: int = 0
    teacher_forwards: int = 0
    teacher_backwards: int = 0

    def add(self, step: StepLoss, rows: int) -> float:
        """Add a step and return its total; waits for the device once."""
        named: Mapping[str, Tensor] = {"total": step.total.detach() * rows} | {
            k: v.sum() for k, v in step.terms.items()
        }
        values = torch.stack([value.double() for value in named.values()]).tolist()
        for name, value in zip(named, values, strict=True):
            self.sums[name] = self.sums.get(name, 0.0) + value
        self.rows += rows
        return float(values[0])

    def collect(self, device: torch.device) -> None:
        """Move all processes' sums to process 0, so that one saved state holds them."""
        if distributed.world_size() == 1:
            return
        names = sorted({name for names in distributed.gather_objects(list(self.sums)) for name in names})
        own = [self.sums.get(name, 0.0) for name in names] + [self.rows, *(getattr(self, name) for name in COUNTS)]
        everyone = distributed.sum_(torch.tensor(own, dtype=torch.float64, device=device)).tolist()
        main = distributed.is_main()
        self.sums = dict(zip(names, everyone[: len(names)], strict=True)) if main else {}
        self.rows = everyone[len(names)] if main else 0
        for name, count in zip(COUNTS, everyone[len(names) + 1 :], strict=True):
            setattr(self, name, int(count) if main else 0)

    def means(self) -> dict[str, float | None]:
        """Return the mean per sample of "natural", "robust" and "total", and of what else the method has."""
        names = dict.fromkeys(("natural", "robust", "total", *sorted(self.sums)))
        return {name: self.sums[name] / self.rows if name in self.sums and self.rows else None for name in names}

    def state_dict(self) -> dict[str, Any]:
        """Return what the constructor takes."""
        return {**vars(self), "sums": dict(self.sums)}
