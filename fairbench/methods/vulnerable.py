"""A class weight for the most vulnerable classes: what is known of the training-phase mitigation of the KDD 2021 study.

Paper      Analysis and applications of class-wise robustness in adversarial training (Tian, Kuang, Jiang, Wu & Wang,
           KDD 2021), https://arxiv.org/abs/2105.14240: training is modified to raise the most vulnerable class.
Official   none found.
Published  none that could be read.
Measured   not yet.
Differs    the form is not known from what could be read, so nothing here claims to be the paper's: which loss is
           weighed, how strongly, from when on, and how far weights may go are named parameters.

Shape key: B batch, K classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
from torch import Tensor

from fairbench.errors import BadInput
from fairbench.methods.base import Batch, EpochState, StepLoss
from fairbench.methods.class_meter import ClassMeter
from fairbench.methods.class_rule import ClassRule, Slot


class VulnerableRule(ClassRule):
    """Larger weights for classes whose adversarial images are classified rightly less often than those of others.

    With a_c the robust accuracy of class c on training images in the epoch before (train mode) and mean a the mean over
    classes, w_c is exp(strength * (mean a - a_c)), scaled to a mean of 1 over classes, then clamped to
    [min_weight, max_weight] and not scaled again. Weights are 1 until the fraction `start` of the schedule.
    """

    name: ClassVar[str] = "vulnerable"
    needs: ClassVar[tuple[str, ...]] = ("robust",)
    later: ClassVar[Mapping[str, str]] = {"vulnerable to weigh classes": "_start"}
    strength: float = 2.0
    start: float = 0.1
    min_weight: float = 0.5
    max_weight: float = 3.0
    losses: Literal["robust", "all"] = "all"

    applied: ClassVar[Mapping[Slot, tuple[str, ...]]] = {"reweight": ("class_weight",)}

    class_weight: Tensor
    robust_accuracy: ClassMeter

    def check(self) -> None:
        """Raise BadInput where the start is no fraction, or the weights' start, 1, lies outside their range."""
        if self.start > 1:
            raise BadInput(f"start is a fraction of the schedule, 0 to 1, but is {self.start}.")
        if not self.min_weight <= 1 <= self.max_weight:
            raise BadInput(
                "weights start at 1, so min_weight <= 1 <= max_weight must hold, "
                f"but they are {self.min_weight} and {self.max_weight}."
            )

    def __init__(self, num_classes: int, **hyper: object) -> None:
        super().__init__(num_classes, **hyper)
        self.register_buffer("class_weight", torch.ones(num_classes, dtype=torch.float64))
        self.robust_accuracy = ClassMeter(num_classes)

    def weight(self, y: Tensor, term: str, logits: Mapping[str, Tensor]) -> Tensor:
        """Return each sample's class weight, for the losses that `losses` names."""
        weight = self.class_weight[y]
        return weight if self.losses == "all" or term == "robust" else torch.ones_like(weight)

    @property
    def _start(self) -> float:
        return self.start or self.second_epoch  # what it applies it learns in an epoch

    def observe(self, batch: Batch, step: StepLoss) -> None:
        """Count the adversarial images classified rightly."""
        self.robust_accuracy.add(batch.y, step.logits["robust"].argmax(1) == batch.y)

    def begin_epoch(self, state: EpochState) -> None:
        """Take the weights from the epoch before; an absent class keeps its own and does not count."""
        accuracy = self.robust_accuracy.pop_mean()
        if state.epoch < state.at(self.start):
            return
        raw = torch.exp(self.strength * (accuracy.nanmean() - accuracy))
        self.change(self.class_weight, (raw / raw.nanmean()).clamp(self.min_weight, self.max_weight))
