"""Fair-ARD: class weights from the attack steps that a class withstands (Yue, Mou, Wang & Zhao, NeurIPS 2023).

Paper      Revisiting adversarial robustness distillation from the perspective of robust fairness,
           https://openreview.net/forum?id=ywrPcBEXdC
Official   https://github.com/NISP-official/Fair-ARD @ 910c8cd17b
Published  Worst class under AutoAttack up by at most 12.3 points on CIFAR-10 and 5.3 on CIFAR-100 (abstract).
Measured   accuracy on MNIST in benchmarks/results, not at the scale of the paper. Against the released step on random
           inputs with the same noise: steps withstood and weights equal, gradient to 4e-16; Fair-RSLAD's gradient to
           5e-12.
Differs    Fair-RSLAD is `--method rslad --reweight fair-ard`, and likewise for IAD and MTARD. (The released Fair-MTARD
           takes the robust teacher's label of x_adv for the natural image; here it is the natural teacher's of x.)
           Steps are averaged over a class's images as they are, the released code divides by N / K: equal where classes
           are. The rest as in ARD.

Shape key: B batch, K classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from fairbench.errors import BadInput
from fairbench.methods.ard import ARD
from fairbench.methods.base import Batch, EpochState, StepLoss
from fairbench.methods.class_meter import ClassMeter
from fairbench.methods.class_rule import ClassRule, Slot

_TINY = 1e-5


class FairARDRule(ClassRule):
    """Larger weights for classes whose images are fooled early, on every loss.

    With k_c the mean over class c of the attack's iterates that are still classified rightly (0 .. steps), in the epoch
    before, w_c is proportional to (1 / (k_c + 1e-5))^beta, scaled to a mean of 1 over classes, then clamped to
    [min_weight, max_weight] and not scaled again. The first epoch's weights are 1.
    """

    name: ClassVar[str] = "fair-ard"
    needs: ClassVar[tuple[str, ...]] = ("survived",)
    later: ClassVar[Mapping[str, str]] = {"Fair-ARD to weigh classes": "second_epoch"}
    beta: float = 2.0
    min_weight: float = 5 / 6
    max_weight: float = 5 / 2

    applied: ClassVar[Mapping[Slot, tuple[str, ...]]] = {"reweight": ("class_weight",)}

    class_weight: Tensor
    withstood: ClassMeter

    def check(self) -> None:
        """Raise BadInput where the range of weights is empty."""
        if self.min_weight > self.max_weight:
            raise BadInput(
                f"min_weight must not be above max_weight, but they are {self.min_weight} and {self.max_weight}."
            )

    def __init__(self, num_classes: int, **hyper: object) -> None:
        super().__init__(num_classes, **hyper)
        self.register_buffer("class_weight", torch.ones(num_classes, dtype=torch.float64))
        self.withstood = ClassMeter(num_classes)

    def weight(self, y: Tensor, term: str, logits: Mapping[str, Tensor]) -> Tensor:
        """Return each sample's class weight, the same for every loss."""
        return self.class_weight[y]

    def observe(self, batch: Batch, step: StepLoss) -> None:
        """Add how many iterates each sample withstood."""
        self.withstood.add(batch.y, batch.extra["survived"])

    def begin_epoch(self, state: EpochState) -> None:
        """Take the weights from the epoch before; an absent class keeps its own and does not count."""
        raw = (1 / (self.withstood.pop_mean() + _TINY)) ** self.beta
        self.change(self.class_weight, (raw / raw.nanmean()).clamp(self.min_weight, self.max_weight))


class FairARD(ARD):
    """ARD with its losses weighed by class."""

    name: ClassVar[str] = "fair-ard"
    reweight: ClassVar[type[ClassRule] | None] = FairARDRule
