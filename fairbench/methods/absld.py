"""ABSLD: anti-bias soft label distillation (Zhao, Duan, Wang & Wei, NeurIPS 2024).

Paper      Improving adversarial robust fairness via anti-bias soft label distillation, https://arxiv.org/abs/2312.05508
Official   https://github.com/zhaoshiji123/ABSLD @ 7407c3ad22
Published  Direction only, for CIFAR-10 and ResNet-18 against RSLAD: worst class up, normalised deviation down, average
           down a little (the tables could not be read).
Measured   see README.
Differs    Class risks are means, the released code sums them: the same up to a factor that the update divides out where
           classes are equally frequent, and right where they are not. The released code divides the teacher's logits
           by both temperatures, robust times natural, for both labels, because its two label tensors share storage:
           `-p label_aliasing=true`. All gaps zero leave the temperatures alone (there: 0/0); a class that never
           appears keeps its own. Our default recipe of digits, mnist and fashion-mnist has `scale=10`, as in
           RSLAD's card; elsewhere, and with `-p scale=1`, the loss is the paper's.

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


class ABSLDRule(ClassRule):
    """One temperature per class for the label of x and one for that of x_adv: sharper labels for harder classes.

    After each epoch, with R_c the student's mean hard-label cross-entropy on class c during it and
    gap_c = R_c - mean R, the update is T_c <- T_c - rate * lr_factor * gap_c / max |gap|, clamped to
    [min_temperature, max_temperature].
    """

    name: ClassVar[str] = "absld"
    needs: ClassVar[tuple[str, ...]] = ("natural", "robust", "teacher")
    rate: float = 0.1
    min_temperature: float = 0.5
    max_temperature: float = 5.0
    label_aliasing: bool = False

    applied: ClassVar[Mapping[Slot, tuple[str, ...]]] = {"retemper": ("natural_temperature", "robust_temperature")}

    natural_temperature: Tensor
    robust_temperature: Tensor
    natural_risk: ClassMeter
    robust_risk: ClassMeter

    def check(self) -> None:
        """Raise BadInput where the temperatures' start, 1, lies outside their range."""
        if not 0 < self.min_temperature <= 1 <= self.max_temperature:
            raise BadInput(
                "temperatures start at 1, so 0 < min_temperature <= 1 <= max_temperature must hold, "
                f"but they are {self.min_temperature} and {self.max_temperature}."
            )

    def __init__(self, num_classes: int, **hyper: object) -> None:
        super().__init__(num_classes, **hyper)
        for term in ("natural", "robust"):
            self.register_buffer(f"{term}_temperature", torch.ones(num_classes, dtype=torch.float64))
            self.register_module(f"{term}_risk", ClassMeter(num_classes))

    def temperature(self, y: Tensor, term: str) -> Tensor:
        """Return each sample's temperature for the label of its natural or its adversarial image."""
        if self.label_aliasing:
            return (self.natural_temperature * self.robust_temperature)[y]
        return (self.natural_temperature if term == "natural" else self.robust_temperature)[y]

    def observe(self, batch: Batch, step: StepLoss) -> None:
        """Add the hard-label risks, from the same weights for both images, in train mode."""
        self.natural_risk.add(batch.y, cross_entropy(step.logits["natural"], batch.y))
        self.robust_risk.add(batch.y, cross_entropy(step.logits["robust"], batch.y))

    def begin_epoch(self, state: EpochState) -> None:
        """Update the temperatures from the epoch before; its rate has decayed with this epoch's learning rate."""
        rate = self.rate * state.lr_factor
        for risk, temperature in (
            (self.natural_risk.pop_mean(), self.natural_temperature),
            (self.robust_risk.pop_mean(), self.robust_temperature),
        ):
            gap = risk - risk.nanmean()
            # NaN where a class was absent, and everywhere where all gaps are zero: those temperatures stay.
            move = gap / gap.abs().nan_to_num(0.0).max()
            new = (temperature - rate * move).clamp(self.min_temperature, self.max_temperature)
            self.change(temperature, new)


class ABSLD(RSLAD):
    """RSLAD with the teacher's labels tempered by class, in the inner attack as in the loss."""

    name: ClassVar[str] = "absld"
    retemper: ClassVar[type[ClassRule] | None] = ABSLDRule
