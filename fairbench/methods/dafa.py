"""DAFA: distance-aware fair adversarial training (Lee et al., ICLR 2024).

Paper      DAFA: distance-aware fair adversarial training, https://arxiv.org/abs/2401.12532
Official   https://github.com/rucy74/DAFA @ c60ba8352d
Published  CIFAR-10, ResNet-18, robust accuracy: average 49.05 +- .14, worst class 30.53 +- 1.04 (TRADES 49.80, 21.31).
Measured   accuracy on MNIST in benchmarks/results, not at the scale of the paper. Against the released loss and attack
           on random inputs with the same noise: weights to 3e-16, loss and gradient to 5e-10.
Differs    On SAT (`--method sat --reweight dafa --remargin dafa`) the weights are on the cross-entropy of x_adv, and
           steps and radii are scaled as on TRADES; the released PGD variant takes a second, unweighted step and
           projects to the plain radius, which undoes the scaling. A weight below 0, which a large `strength` can give,
           is 0. Where s_ii = s_jj, the released code takes weight from both classes and gives it to none; here, nothing
           moves. With `--reweight dafa` on a distillation method only the loss of x is weighed, as on TRADES: nothing
           where it has no share (IAD II, and at their alpha of 1 IAD I, ARD, Fair-ARD and AdaAD).

Shape key: B batch, K classes.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import ClassVar

import torch
from torch import Tensor

from fairbench.errors import BadInput
from fairbench.methods.base import Batch, EpochState, StepLoss
from fairbench.methods.class_meter import ClassMeter
from fairbench.methods.class_rule import ClassRule, Slot
from fairbench.methods.trades import TRADES


class DAFARule(ClassRule):
    """Once, after the warm-up: larger weight, radius and step for a class close to classes that are easier than it.

    With s_ij the mean probability of class j on adversarial images of class i in the last epoch of the warm-up, every
    pair i, j moves weight from its easier to its harder class, i where s_ii < s_jj: W_i += strength * s_ij * s_jj and
    W_j -= strength * s_ij * s_jj, starting at 1. W scales radius, step and cross-entropy, not the divergence.
    """

    name: ClassVar[str] = "dafa"
    needs: ClassVar[tuple[str, ...]] = ("robust",)
    later: ClassVar[Mapping[str, str]] = {"DAFA to weigh classes": "warmup"}
    strength: float = 1.0  # the paper's lambda; 1.5 for CIFAR-100 and STL-10
    warmup: float = 70 / 110

    applied: ClassVar[Mapping[Slot, tuple[str, ...]]] = {"reweight": ("class_weight",), "remargin": ("class_weight",)}

    class_weight: Tensor
    confusion: ClassMeter

    def check(self) -> None:
        """Raise BadInput where there is no warm-up to measure in."""
        if not 0 < self.warmup <= 1:
            raise BadInput(f"warmup is a fraction of the schedule above 0 and at most 1, but is {self.warmup}.")

    def __init__(self, num_classes: int, **hyper: object) -> None:
        super().__init__(num_classes, **hyper)
        self.register_buffer("class_weight", torch.ones(num_classes, dtype=torch.float64))
        self.confusion = ClassMeter(num_classes, num_classes)

    def weighs(self, terms: Collection[str]) -> Collection[str]:
        """Return the natural loss; the robust one only where it is the only one."""
        return ["natural"] if "natural" in terms else terms

    def weight(self, y: Tensor, term: str, logits: Mapping[str, Tensor]) -> Tensor:
        """Return each sample's class weight for the natural loss; for the robust one only where it is the only one."""
        weight = self.class_weight[y]
        return weight if term == "natural" or "natural" not in logits else torch.ones_like(weight)

    def radius(self, y: Tensor, eps: Tensor, step_size: Tensor) -> tuple[Tensor, Tensor]:
        """Return each sample's radius and step size, both scaled by its class weight."""
        return eps * self.class_weight[y], step_size * self.class_weight[y]

    def observe(self, batch: Batch, step: StepLoss) -> None:
        """Add the probabilities of x_adv, in train mode."""
        self.confusion.add(batch.y, step.logits["robust"].softmax(1))

    def begin_epoch(self, state: EpochState) -> None:
        """Take the weights when the warm-up is over; an absent class keeps 1, and no class is compared with it."""
        similarity = self.confusion.pop_mean()
        if state.epoch != state.at(self.warmup):
            return
        own = similarity.diagonal()
        # given[i, j] is what the easier j gives to the harder i.
        given = torch.where(own[:, None] < own[None, :], self.strength * similarity * own[None, :], 0.0).nan_to_num(0.0)
        self.class_weight.copy_((1 + given.sum(1) - given.sum(0)).clamp(min=0))


class DAFA(TRADES):
    """TRADES with weights for the natural loss, radii and steps by class."""

    name: ClassVar[str] = "dafa"
    reweight: ClassVar[type[ClassRule] | None] = DAFARule
    remargin: ClassVar[type[ClassRule] | None] = DAFARule
