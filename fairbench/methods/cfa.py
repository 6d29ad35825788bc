"""CFA: class-wise calibrated fair adversarial training, on TRADES or SAT (Wei, Wang, Guo & Wang, CVPR 2023).

Paper      CFA: class-wise calibrated fair adversarial training, https://arxiv.org/abs/2303.14460
Official   https://github.com/PKU-ML/CFA @ 071f3334a5
Published  CIFAR-10, PreActResNet-18, AutoAttack, average / worst class: TRADES + CFA 50.1 / 26.5, SAT + CFA 50.1 / 24.4
           (best), 49.3 / 21.5 and 47.7 / 20.5 (last).
Measured   accuracy on MNIST in benchmarks/results, not at the scale of the paper. Against the released losses and
           attacks on random inputs with the same noise, on TRADES and SAT (attack in train mode), calibrated and not:
           loss and gradient to 5e-11.
Differs    Defaults are the paper's; the released code's are lambda_1 .5 on TRADES too, threshold .24, decay .88 and an
           average from the first epoch that passes (`-p lambda_1=0.5 -p threshold=0.24 -p average_start=0`). The
           paper's text does not say when class-wise calibration starts; `start` is the code's. On SAT the released code
           attacks in train mode (`-p attack_mode=train`). It runs the natural image through the student once more for
           its logging, and twice in TRADES's loss. Its average is the initial network until the gate first opens; here,
           the live weights are deployed until then. FAT is not here. Our default recipe of digits, mnist and
           fashion-mnist has `scale=7`, without which 30 epochs of a seventh of TRADES's step learn little. With another
           remargin rule beta is the same for all classes. The average of weights (FAWA) is an option of the recipe
           (`--average epoch:0.85`), on in `--recipe paper` and off in `--recipe common` and in the default.

Shape key: B batch, K classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Tensor, nn

from fairbench.losses import cross_entropy, kl_divergence
from fairbench.methods.base import Batch, EpochState, StepLoss
from fairbench.methods.class_meter import ClassMeter
from fairbench.methods.class_rule import ClassRule, Slot
from fairbench.methods.trades import TRADES
from fairbench.metrics.classwise import class_accuracy
from fairbench.sample_random import SampleRandom


class CFARule(ClassRule):
    """Larger radii for classes that are robust already.

    With t_c the robust accuracy of class c on training images in the epoch before, the radius of class c is
    (lambda_1 + t_c) * eps from the fraction `start` of the schedule on; steps are not scaled. CFA's own loss multiplies
    beta by lambda_2 + t_c.
    """

    name: ClassVar[str] = "cfa"
    needs: ClassVar[tuple[str, ...]] = ("robust",)
    later: ClassVar[Mapping[str, str]] = {"CFA to set radii by class": "_start"}
    lambda_1: float = 0.5
    lambda_2: float = 0.5
    start: float = 10 / 200

    applied: ClassVar[Mapping[Slot, tuple[str, ...]]] = {"remargin": ("radius_factor",)}

    radius_factor: Tensor
    beta_factor: Tensor
    robust_accuracy: ClassMeter

    def __init__(self, num_classes: int, **hyper: object) -> None:
        super().__init__(num_classes, **hyper)
        self.register_buffer("radius_factor", torch.ones(num_classes, dtype=torch.float64))
        self.register_buffer("beta_factor", torch.ones(num_classes, dtype=torch.float64))
        self.robust_accuracy = ClassMeter(num_classes)

    def radius(self, y: Tensor, eps: Tensor, step_size: Tensor) -> tuple[Tensor, Tensor]:
        """Return each sample's class radius; step sizes as they are."""
        return eps * self.radius_factor[y], step_size

    @property
    def _start(self) -> float:
        return self.start or self.second_epoch  # what it applies it learns in an epoch

    def observe(self, batch: Batch, step: StepLoss) -> None:
        """Count the adversarial images classified rightly, in train mode, within the radii of this epoch."""
        self.robust_accuracy.add(batch.y, step.logits["robust"].argmax(1) == batch.y)

    def begin_epoch(self, state: EpochState) -> None:
        """Take the factors from the epoch before; an absent class keeps its own."""
        accuracy = self.robust_accuracy.pop_mean()
        if state.epoch >= state.at(self.start):
            self.change(self.radius_factor, self.lambda_1 + accuracy)
            self.change(self.beta_factor, self.lambda_2 + accuracy)


class CFA(TRADES):
    """Minimise (CE(f(x), y) + b_c * KL(f(x) || f(x_adv))) / (1 + b_c) with b_c = beta * (lambda_2 + t_c).

    That is about TRADES's loss over 1 + beta, and so are its steps; times `scale`, they are TRADES's at 1 + beta.
    `variant` "sat": CE(f(x_adv), y), with the radii only, and without `scale`. lambda_1 is .3 on TRADES and .5 on SAT
    unless given. Where the recipe averages weights (`average=("epoch", 0.85)`), an epoch enters the average from
    `average_start` on if the worst class's validation accuracy under pgd10 is at least `threshold`.
    """

    name: ClassVar[str] = "cfa"
    gives: ClassVar[tuple[str, ...]] = ("robust", "survived")  # of both variants
    remargin: ClassVar[type[ClassRule] | None] = CFARule
    common_scale: ClassVar[float | None] = 7.0  # 1 + beta
    step_share: float = 1 / 4
    variant: Literal["trades", "sat"] = "trades"
    threshold: float = 0.2
    average_start: float = 50 / 200
    scale: float = 1.0

    def __init__(self, num_classes: int, **options: object) -> None:
        super().__init__(num_classes, **options)  # type: ignore[arg-type]
        rule = self._slots.get("remargin")
        if isinstance(rule, CFARule) and self.variant == "trades" and not {"lambda_1", "cfa.lambda_1"} & {*options}:
            rule.lambda_1 = 0.3

    def attack(self, model: nn.Module, batch: Batch, random: SampleRandom) -> Batch:
        """Return the batch with TRADES's or PGD's examples within the class radii."""
        return super().attack(model, batch, random) if self.variant == "trades" else self.craft(model, batch, random)

    def loss(self, model: nn.Module, batch: Batch) -> StepLoss:
        """Return TRADES's loss with a class's own beta, its coefficients of sum `scale`, or SAT's loss."""
        robust = model(batch.adversarial)
        if self.variant == "sat":
            return self.reduce(batch.y, {"robust": (1.0, cross_entropy(robust, batch.y))}, {"robust": robust})
        natural = model(batch.x)
        rule = self._slots.get("remargin")
        factor = rule.beta_factor[batch.y] if isinstance(rule, CFARule) else torch.ones_like(batch.y)
        beta = self.beta * factor
        terms = {
            "natural": (self.scale / (1 + beta), cross_entropy(natural, batch.y)),
            "robust": (self.scale * beta / (1 + beta), kl_divergence(natural, robust)),
        }
        return self.reduce(batch.y, terms, {"natural": natural, "robust": robust})

    def validation_attacks(self) -> set[str]:
        """Return what the gate reads, and what rules do."""
        return super().validation_attacks() | {"pgd10"}

    def accepts_average(self, state: EpochState) -> bool:
        """Return whether the worst class is robust enough for these weights to enter the average."""
        assert state.validation is not None
        robust, labels = state.validation.robust("pgd10"), state.validation.labels("pgd10")
        worst = np.nanmin(class_accuracy(labels, robust, self.num_classes))
        return bool(state.epoch >= state.at(self.average_start) and worst >= self.threshold)
