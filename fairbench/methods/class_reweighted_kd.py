"""Class-re-weighted distillation: a control for ABSLD, whose update rule here drives weights instead of temperatures.

Paper      none; the control that ABSLD's reviewers asked for: is a temperature different from a weight?
Official   none.
Published  none to compare with.
Measured   accuracy on MNIST in benchmarks/results, not at the scale of the paper.
Differs    from ABSLD in what the rule drives, and so in sign: a class of high risk gets a larger weight, where ABSLD
           gives it a lower temperature. Start, rate, decay and range are ABSLD's, and so is the
           `scale=10` of our default recipe of digits, mnist and fashion-mnist.

Shape key: B batch, K classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from fairbench.errors import BadInput
from fairbench.losses import cross_entropy
from fairbench.methods.base import Batch, EpochState, StepLoss
from fairbench.methods.class_meter import ClassMeter
from fairbench.methods.class_rule import ClassRule, Slot
from fairbench.methods.rslad import RSLAD


class RiskWeightRule(ClassRule):
    """One weight per class for the loss of x and one for that of x_adv: larger for harder classes.

    After each epoch, with R_c the student's mean hard-label cross-entropy on class c during it and
    gap_c = R_c - mean R, the update is w_c <- w_c + rate * lr_factor * gap_c / max |gap|, clamped to
    [min_weight, max_weight].
    """

    name: ClassVar[str] = "risk-weight"
    needs: ClassVar[tuple[str, ...]] = ("natural", "robust")
    later: ClassVar[Mapping[str, str]] = {"risk-weight to weigh classes": "second_epoch"}
    rate: float = 0.1
    min_weight: float = 0.5
    max_weight: float = 5.0

    applied: ClassVar[Mapping[Slot, tuple[str, ...]]] = {"reweight": ("natural_weight", "robust_weight")}

    natural_weight: Tensor
    robust_weight: Tensor
    natural_risk: ClassMeter
    robust_risk: ClassMeter

    def check(self) -> None:
        """Raise BadInput where the weights' start, 1, lies outside their range."""
        if not self.min_weight <= 1 <= self.max_weight:
            raise BadInput(
                "weights start at 1, so min_weight <= 1 <= max_weight must hold, "
                f"but they are {self.min_weight} and {self.max_weight}."
            )

    def __init__(self, num_classes: int, **hyper: object) -> None:
        super().__init__(num_classes, **hyper)
        for term in ("natural", "robust"):
            self.register_buffer(f"{term}_weight", torch.ones(num_classes, dtype=torch.float64))
            self.register_module(f"{term}_risk", ClassMeter(num_classes))

    def weight(self, y: Tensor, term: str, logits: Mapping[str, Tensor]) -> Tensor:
        """Return each sample's weight for the loss of its natural or its adversarial image."""
        return (self.natural_weight if term == "natural" else self.robust_weight)[y]

    def observe(self, batch: Batch, step: StepLoss) -> None:
        """Add the hard-label risks, from the same weights for both images, in train mode."""
        self.natural_risk.add(batch.y, cross_entropy(step.logits["natural"], batch.y))
        self.robust_risk.add(batch.y, cross_entropy(step.logits["robust"], batch.y))

    def begin_epoch(self, state: EpochState) -> None:
        """Update the weights from the epoch before; an absent class keeps its own, and so do all without a gap."""
        for risk, weight in (
            (self.natural_risk.pop_mean(), self.natural_weight),
            (self.robust_risk.pop_mean(), self.robust_weight),
        ):
            gap = risk - risk.nanmean()
            move = gap / gap.abs().nan_to_num(0.0).max()
            new = weight + self.rate * state.lr_factor * move
            self.change(weight, new.clamp(self.min_weight, self.max_weight))


class ClassReweightedKD(RSLAD):
    """RSLAD with its losses weighed by class."""

    name: ClassVar[str] = "class-reweighted-kd"
    reweight: ClassVar[type[ClassRule] | None] = RiskWeightRule
