"""Natural training: cross-entropy on natural images, no attack.

Paper      none; the baseline of every table.
Official   none.
Published  none to compare with.
Measured   digits: reports/leaderboard.md.
Differs    nothing known.
"""

from __future__ import annotations

from typing import ClassVar

from torch import nn

from fairbench.losses import cross_entropy
from fairbench.methods.base import Batch, Method, StepLoss
from fairbench.sample_random import SampleRandom


class Natural(Method):
    """Minimise CE(f(x), y)."""

    name: ClassVar[str] = "natural"
    gives: ClassVar[tuple[str, ...]] = ("natural",)

    def attack(self, model: nn.Module, batch: Batch, random: SampleRandom) -> Batch:
        """Return the batch as it is."""
        return batch

    def loss(self, model: nn.Module, batch: Batch) -> StepLoss:
        """Return the mean cross-entropy of x."""
        logits = model(batch.x)
        return self.reduce(batch.y, {"natural": (1.0, cross_entropy(logits, batch.y))}, {"natural": logits})
