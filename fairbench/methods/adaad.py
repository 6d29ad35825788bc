"""AdaAD: adaptive adversarial distillation (Huang et al., CVPR 2023).

Paper      Boosting accuracy and robustness of student models via adaptive adversarial distillation, CVPR 2023
Official   https://github.com/boyellow/AdaAD @ 9e5c6e5ff7
Published  CIFAR-10, ResNet-18, AutoAttack 54.23, with a WRN-34-20 teacher (abstract).
Measured   accuracy on MNIST in benchmarks/results, not at the scale of the paper. Against copies of its attack and
           loss on random inputs with the same noise, alpha 1 and .6: examples to 3e-10, loss and gradient to 4e-11.
Differs    The script's default radius of 16/255 and step of 4/255 ("larger search radius" in its README) are not taken.
           Its CIFAR-100 loss is not divided by K: `-p scale=100`. With alpha 1 the natural images are still run through
           the student, as there, for batch norm's statistics, but without gradients. Our default recipe of digits,
           mnist and fashion-mnist has `scale=10`, as in RSLAD's card.

Shape key: B batch, K classes.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import ClassVar

import torch
from torch import Tensor, nn

from fairbench.attacks.linf import normal_start
from fairbench.errors import BadInput
from fairbench.losses import kl_divergence
from fairbench.methods.base import Batch, Method, StepLoss
from fairbench.sample_random import SampleRandom


class AdaAD(Method):
    """Minimise alpha * KL(t(x_adv) || f(x_adv)) / K + (1 - alpha) * KL(t(x) || f(x)) / K, times `scale`.

    x_adv maximises KL(t(x_adv) || f(x_adv)): its gradient flows through the teacher t and the student f. Started
    0.001 N(0, 1) from x.
    """

    name: ClassVar[str] = "adaad"
    roles: ClassVar[tuple[str, ...]] = ("robust",)
    gives: ClassVar[tuple[str, ...]] = ("natural", "robust", "survived", "teacher")
    alpha: float = 1.0
    common_scale: ClassVar[float | None] = 10.0
    scale: float = 1.0

    def check(self) -> None:
        """Raise BadInput where alpha is above 1."""
        super().check()
        if self.alpha > 1:
            raise BadInput(f"alpha must lie in [0, 1], but is {self.alpha}.")

    def idle_terms(self) -> set[str]:
        """Return the natural loss where alpha is 1."""
        return {"natural"} if self.alpha == 1 else set()

    def asks_of_x(self) -> tuple[str, ...]:
        """Return the role of the teacher that labels the natural image."""
        return ("robust",)

    def attack(self, model: nn.Module, batch: Batch, random: SampleRandom) -> Batch:
        """Return the batch with examples on which student and teacher disagree, and the teacher's logits of both."""
        teacher = self.teachers["robust"]

        def objective(logits: Tensor, x_adv: Tensor, rows: Tensor) -> Tensor:
            label = self.tempered(teacher(x_adv).to(logits.dtype), batch.y[rows], "robust")
            return kl_divergence(label, logits)

        batch = self.craft(model, batch, random, start=normal_start, objective=objective)
        return self.ask(self.ask(batch, "robust", "x_adv"), "robust")

    def loss(self, model: nn.Module, batch: Batch) -> StepLoss:
        """Return the divergence from the teacher's label on x_adv and on x, each from its own image."""
        with nullcontext() if self.alpha < 1 else torch.no_grad():
            natural = model(batch.x)
        logits = {"robust": model(batch.adversarial), "natural": natural}
        label = {"robust": batch.extra["robust_x_adv"], "natural": batch.extra["robust_x"]}
        losses = {
            term: kl_divergence(self.tempered(label[term], batch.y, term), student) / self.num_classes
            for term, student in logits.items()
        }
        terms = {
            "robust": (self.scale * self.alpha, losses["robust"]),
            "natural": (self.scale * (1 - self.alpha), losses["natural"]),
        }
        return self.reduce(batch.y, terms, logits)
