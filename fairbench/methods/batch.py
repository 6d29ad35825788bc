"""What flows through a training step: the batch, its loss, and the epoch it belongs to.

Shape key: B batch, K classes, C H W image.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from torch import Tensor

if TYPE_CHECKING:
    from fairbench.outcomes import Outcomes


@dataclass(frozen=True)
class Batch:
    """One process's share of a step's samples.

    Attributes:
        x: (B, C, H, W) pixels in [0, 1], augmented.
        y: (B,) int64 labels.
        index: (B,) int64, each sample's place in the training set: the key of its random numbers.
        x_adv: (B, C, H, W), once `Method.attack` has made it.
        extra: (B, ...) each, detached: "<role>_<image>" (teacher logits), "survived", "x_last", ...
    """

    x: Tensor
    y: Tensor
    index: Tensor
    x_adv: Tensor | None = None
    extra: Mapping[str, Tensor] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.y)

    def at(self, rows: Tensor) -> Batch:
        """Return the batch of some rows (indices or a mask), in that order, extra included."""
        return Batch(
            self.x[rows],
            self.y[rows],
            self.index[rows],
            None if self.x_adv is None else self.x_adv[rows],
            {name: value[rows] for name, value in self.extra.items()},
        )

    def plus(self, x_adv: Tensor | None = None, **extra: Tensor) -> Batch:
        """Return the batch with adversarial examples or further columns, detached."""
        kept = self.x_adv if x_adv is None else x_adv.detach()
        added = {name: value.detach() for name, value in extra.items()}
        return replace(self, x_adv=kept, extra={**self.extra, **added})

    @property
    def adversarial(self) -> Tensor:
        """The adversarial examples, (B, C, H, W), of a batch that was attacked."""
        assert self.x_adv is not None, "the method's attack made no x_adv"
        return self.x_adv


@dataclass(frozen=True)
class StepLoss:
    """What `Method.loss` returns; made by `Method.reduce`.

    Attributes:
        total: scalar, the mean over this process's rows; the loop weights processes by rows.
        terms: "natural" (of x) and "robust" (of x_adv), (B,), detached and raw: no coefficient, no class weight.
        logits: the same keys, (B, K), detached, where computed; class rules derive what they need.
    """

    total: Tensor
    terms: Mapping[str, Tensor]
    logits: Mapping[str, Tensor]


@dataclass(frozen=True)
class EpochState:
    """What is known when an epoch is about to start.

    Attributes:
        epoch: 0 .. epochs - 1.
        epochs: length of the schedule.
        lr_factor: learning rate of this epoch / initial learning rate.
        validation: outcomes of the live weights now, the whole table on every process.
        terms: what `Method.validation_terms` made of the same samples, (N,) each, in order of index.
    """

    epoch: int
    epochs: int
    lr_factor: float
    validation: Outcomes | None = None
    terms: Mapping[str, npt.NDArray[np.float64]] = field(default_factory=dict)

    def at(self, fraction: float) -> int:
        """Return a fraction of the schedule as an epoch: 0 is 0, anything else at least 1."""
        return epoch_at(fraction, self.epochs)


#: A fraction of any schedule that is its second epoch: when what was learned from the first one is applied.
SECOND_EPOCH = 1e-9


def epoch_at(fraction: float, epochs: int) -> int:
    """Return the epoch that lies `fraction` of the way through `epochs`: 0 is 0, anything else at least 1."""
    return 0 if fraction == 0 else max(1, round(fraction * epochs))
