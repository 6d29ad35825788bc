"""WAT: worst-class adversarial training (Li & Liu, AAAI 2023).

Paper      WAT: improve the worst-class robustness in adversarial training, AAAI 2023, pp. 14982-14990
Official   https://github.com/boqili/WAT @ 62d1184f9b
Published  none that could be read; as re-run by DAFA's authors on CIFAR-10, ResNet-18: robust 46.30 +- .27, worst class
           28.55 +- 1.30.
Measured   accuracy on MNIST in benchmarks/results, not at the scale of the paper. Against the released training and
           validation on random inputs with the same examples, three epochs: weights to 4e-16, loss and gradient to
           4e-14.
Differs    Validation losses are means over the images there are; the released code divides by batches times batch size,
           and takes N / K for a class's count. The validation images are fairbench's, 300 per class there. Our default
           recipe of digits, mnist and fashion-mnist has `scale=0.5`: at twice TRADES's step, MNIST networks collapse.

Shape key: B batch, K classes, N validation samples.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from fairbench.losses import cross_entropy, kl_divergence
from fairbench.methods.base import EpochState
from fairbench.methods.class_rule import ClassRule, Slot
from fairbench.methods.trades import TRADES


class WATRule(ClassRule):
    """Hedge over K + 1 experts: each class, and the average of all samples.

    After each epoch, with l_c the mean of CE(f(x), y) + beta * KL(f(x) || f(x_adv)) on class c's validation images, l_K
    on all of them, and L the sums of l over the epochs so far, the experts' weights are K * softmax(rate * L); at first
    they are 1. A sample's weight is its class's plus that of the average, so that all losses double at first.
    """

    name: ClassVar[str] = "wat"
    needs: ClassVar[tuple[str, ...]] = ("robust",)
    later: ClassVar[Mapping[str, str]] = {"WAT to weigh classes": "second_epoch"}
    validation_attack: ClassVar[str | None] = "kl10(step_size=7/31*eps)"  # TRADES's attack, as in training
    rate: float = 0.1  # the paper's eta
    beta: float = 6.0

    applied: ClassVar[Mapping[Slot, tuple[str, ...]]] = {"reweight": ("class_weight",)}

    cumulative_loss: Tensor
    class_weight: Tensor
    average_weight: Tensor

    def __init__(self, num_classes: int, **hyper: object) -> None:
        super().__init__(num_classes, **hyper)
        self.register_buffer("cumulative_loss", torch.zeros(num_classes + 1, dtype=torch.float64))
        self.register_buffer("class_weight", torch.ones(num_classes, dtype=torch.float64))
        self.register_buffer("average_weight", torch.ones((), dtype=torch.float64))

    def weight(self, y: Tensor, term: str, logits: Mapping[str, Tensor]) -> Tensor:
        """Return each sample's weight, the same for every loss."""
        return self.class_weight[y] + self.average_weight

    def validation_terms(self, y: Tensor, natural: Tensor, robust: Tensor) -> dict[str, Tensor]:
        """Return the loss of each validation sample."""
        return {"wat": cross_entropy(natural, y) + self.beta * kl_divergence(natural, robust)}

    def begin_epoch(self, state: EpochState) -> None:
        """Add the validation losses of the weights now; the initial ones do not count."""
        if state.epoch == 0:
            return
        assert state.validation is not None
        loss, labels = state.terms["wat"], state.validation.labels()
        sums, count = (np.bincount(labels, weigh, minlength=self.num_classes) for weigh in (loss, None))
        means = np.divide(sums, count, out=np.full(self.num_classes, np.nan), where=count > 0)
        losses = torch.from_numpy(np.append(means, loss.mean())).to(self.cumulative_loss)
        self.change(self.cumulative_loss, self.cumulative_loss + losses)
        weights = self.num_classes * (self.rate * self.cumulative_loss).softmax(0)
        self.class_weight.copy_(weights[:-1])
        self.average_weight.copy_(weights[-1])


class WAT(TRADES):
    """TRADES with its losses weighed by class, times `scale`; the rule has the method's beta unless wat.beta is given.

    With weights of 1 the loss is twice TRADES's, and so are its steps; at a scale of .5 they are TRADES's.
    """

    name: ClassVar[str] = "wat"
    common_scale: ClassVar[float | None] = 0.5
    scale: float = 1.0
    reweight: ClassVar[type[ClassRule] | None] = WATRule

    def __init__(self, num_classes: int, **options: object) -> None:
        super().__init__(num_classes, **options)  # type: ignore[arg-type]
        rule = self._slots.get("reweight")
        if isinstance(rule, WATRule) and "wat.beta" not in options:
            rule.beta = self.beta

    def coefficients(self) -> tuple[float, float]:
        """Return TRADES's, times `scale`."""
        first, second = super().coefficients()
        return self.scale * first, self.scale * second
