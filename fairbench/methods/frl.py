"""FRL: fair robust learning, by re-weighting and re-margining (Xu, Liu, Li, Jain & Tang, ICML 2021).

Paper      To be robust or to be fair: towards fairness in adversarial training, https://arxiv.org/abs/2010.06121
Official   https://github.com/hannxu123/fair_robust @ a80547def8
Published  none that could be read; as re-run by DAFA's authors on CIFAR-10, ResNet-18: robust 44.68 +- .27, worst class
           25.84 +- 1.09.
Measured   accuracy on MNIST in benchmarks/results, not at the scale of the paper. Against five epochs of both released
           scripts on random inputs with the same noise: multipliers to 1e-16, gradient to 2e-7.
Differs    The update is that of the released scripts: `variant` is frlrmrw.py or frlrw.py. The natural image is run
           through the student once per step, there twice. The validation images are fairbench's, 300 per class there.
           Meant to start from a robust model: `--init CHECKPOINT`.

Shape key: B batch, K classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from fairbench import distributed
from fairbench.errors import BadInput
from fairbench.methods.base import EpochState
from fairbench.methods.class_rule import ClassRule, Slot
from fairbench.methods.trades import TRADES
from fairbench.metrics.classwise import class_accuracy
from fairbench.outcomes import NATURAL


class FRLRule(ClassRule):
    """Lagrange multipliers of the constraints that no class errs more than the average plus a tolerance.

    Before each epoch, on validation images, with E_c the natural error of class c, B_c its boundary error (natural
    minus robust accuracy), E and B those of all samples, and tau the tolerance (none: .07, without re-margining .1;
    `variant` none: with re-margining where the rule fills that slot):

        natural multiplier  l_c <- limited(l_c + rate * (E_c - E - tau))
        robust multiplier   m_c <- limited(m_c + 2 * rate * (B_c - B - tau))
        margin exponent     h_c <- h_c + margin_rate * (B_c - B - tau)           (variant "reweight": stays 0)

    limited(v) = max(v, 0), scaled down to a sum of `limit` where it is larger. The weight of class c in a loss is
    1 / K + l_c - mean l, divided by its mean over the batch; its radius is eps * exp(2 h_c), within
    [min_factor, max_factor] * eps. All samples of a batch share the step size that fits its largest radius.
    """

    name: ClassVar[str] = "frl"
    needs: ClassVar[tuple[str, ...]] = ("robust",)
    later: ClassVar[Mapping[str, str]] = {"FRL to halve its rate": "halving"}
    validation_attack: ClassVar[str | None] = "pgd20"
    variant: Literal["reweight+remargin", "reweight"] | None = None
    tolerance: float | None = None
    rate: float = 0.05
    margin_rate: float = 0.2
    limit: float = 0.5
    min_factor: float = 0.98
    max_factor: float = 3.0
    halving: float = 39 / 40

    applied: ClassVar[Mapping[Slot, tuple[str, ...]]] = {
        "reweight": ("natural_weight", "robust_weight"),
        "remargin": ("radius_factor",),
    }

    natural_multiplier: Tensor
    robust_multiplier: Tensor
    margin_exponent: Tensor
    natural_weight: Tensor
    robust_weight: Tensor
    radius_factor: Tensor

    def __init__(self, num_classes: int, **hyper: object) -> None:
        super().__init__(num_classes, **hyper)
        zeros, ones = torch.zeros(num_classes, dtype=torch.float64), torch.ones(num_classes, dtype=torch.float64)
        for name in ("natural_multiplier", "robust_multiplier", "margin_exponent"):
            self.register_buffer(name, zeros.clone())
        for name in ("natural_weight", "robust_weight"):
            self.register_buffer(name, ones / num_classes)
        self.register_buffer("radius_factor", ones)

    def fill(self, slots: tuple[Slot, ...]) -> None:
        """Choose the variant by the slots unless it is given: without re-margining it is frlrw.py's."""
        super().fill(slots)
        if self.variant is None:
            self.variant = "reweight+remargin" if "remargin" in slots else "reweight"
        if slots == ("remargin",) and self.variant == "reweight":
            raise BadInput(
                "--remargin frl with -p frl.variant=reweight would leave every radius as it is; give it to --reweight, "
                "too, or leave the variant out."
            )

    def weight(self, y: Tensor, term: str, logits: Mapping[str, Tensor]) -> Tensor:
        """Return each sample's class weight for the loss `term`, of mean 1 over the batch."""
        weight = (self.natural_weight if term == "natural" else self.robust_weight)[y]
        return weight / distributed.mean_(weight)

    def radius(self, y: Tensor, eps: Tensor, step_size: Tensor) -> tuple[Tensor, Tensor]:
        """Return each sample's class radius, and the step size of the largest one in the batch for all."""
        present = distributed.sum_(one_hot(y, self.num_classes).sum(0)) > 0
        return eps * self.radius_factor[y], step_size * torch.where(present, self.radius_factor, 0.0).max()

    def begin_epoch(self, state: EpochState) -> None:
        """Update the multipliers from the validation errors now."""
        natural, boundary = self._gaps(state)
        tolerance = self.tolerance
        if tolerance is None:
            tolerance = 0.1 if self.variant == "reweight" else 0.07
        rate = self.rate / 2 if state.epoch >= state.at(self.halving) else self.rate
        for multiplier, weight, step in (
            (self.natural_multiplier, self.natural_weight, rate * (natural - tolerance)),
            (self.robust_multiplier, self.robust_weight, 2 * rate * (boundary - tolerance)),
        ):
            self.change(multiplier, multiplier + step)
            multiplier.clamp_(min=0)
            multiplier.mul_((self.limit / multiplier.sum()).clamp(max=1))
            weight.copy_(1 / self.num_classes + multiplier - multiplier.mean())
        if self.variant == "reweight+remargin":
            self.change(self.margin_exponent, self.margin_exponent + self.margin_rate * (boundary - tolerance))
        self.radius_factor.copy_((2 * self.margin_exponent).exp().clamp(self.min_factor, self.max_factor))

    def _gaps(self, state: EpochState) -> tuple[Tensor, Tensor]:
        """Return by how much each class's natural and boundary error exceed those of all samples, (K,) each."""
        assert state.validation is not None
        assert self.validation_attack is not None
        errors = []
        for attack in (NATURAL, self.validation_attack):
            labels, right = state.validation.labels(attack), state.validation.robust(attack)
            errors.append(right.mean() - class_accuracy(labels, right, self.num_classes))
        natural, robust = (torch.from_numpy(error).to(self.radius_factor) for error in errors)
        return natural, robust - natural


class FRL(TRADES):
    """TRADES with weights for both losses and radii by class."""

    name: ClassVar[str] = "frl"
    reweight: ClassVar[type[ClassRule] | None] = FRLRule
    remargin: ClassVar[type[ClassRule] | None] = FRLRule
    beta: float = 1.5
    step_share: float = 1 / 4
