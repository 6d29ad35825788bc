"""ABSLD: anti-bias soft label distillation (Zhao, Duan, Wang & Wei, NeurIPS 2024).

Paper      Improving adversarial robust fairness via anti-bias soft label distillation, https://arxiv.org/abs/2312.05508
Official   https://github.com/zhaoshiji123/ABSLD @ 7407c3ad22
Published  Direction only, for CIFAR-10 and ResNet-18 against RSLAD: worst class up, normalised deviation down, average
           down a little (the tables could not be read).
Measured   accuracy: see README. Against four epochs of the released script on random inputs with the same noise, with
           and without batch norm, rate .1 and 2.5 (temperatures at both ends of their range), one decay of the rate:
           examples equal, gradient to 3e-16, risks and temperatures to 2e-14, loss to 1e-5 (as in RSLAD's card; without
           that to 6e-16), both with `label_aliasing` and without, there against the script with its labels cloned;
           with unequal classes, its sums divided by their sizes, the same. In float32 with the same examples: gradient
           to 2e-7, loss without the 1e-5 to 4e-7, temperatures to 9e-7 at rate .1 and 2e-5 at 2.5.
Differs    Class risks are means, the released code sums them: the same up to a factor that the update divides out where
           classes are equally frequent, and right where they are not. The released code divides the teacher's logits
           by both temperatures, robust times natural, for both labels, because its two label tensors share storage:
           `-p label_aliasing=true`. All gaps zero leave the temperatures alone (there: 0/0); a class that never
           appears keeps its own. Our default recipe of digits, mnist and fashion-mnist has `scale=10`, as in
           RSLAD's card; elsewhere, and with `-p scale=1`, the loss is the paper's. The extension (Towards class-wise
           fair adversarial training via anti-bias soft label distillation, https://arxiv.org/abs/2506.08611) combines
           ABSLD with sample-based methods by formulas that could not be read; here that is another method's rule in
           `--reweight` or `--remargin` of `--method absld`.

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
    later: ClassVar[Mapping[str, str]] = {"ABSLD to set temperatures by class": "second_epoch"}
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
