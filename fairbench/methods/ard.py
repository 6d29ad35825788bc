"""ARD: adversarially robust distillation (Goldblum et al., AAAI 2020).

Paper      Adversarially robust distillation, https://arxiv.org/abs/1905.09747
Official   https://github.com/goldblum/AdversariallyRobustDistillation @ 779ade36d6
Published  none that could be read.
Measured   accuracy on MNIST in benchmarks/results, not at the scale of the paper. Against the released step on random
           inputs with the same noise, attack in train mode, alpha 1 and .6: loss and gradient to 2e-15.
Differs    The released code attacks with the student in train mode (`-p attack_mode=train`) and does not clamp the
           random start to [0, 1] (`-p clamp_start=false`). With alpha 1 the natural images are still run through the
           student, as there, for batch norm's statistics, but without gradients. Its second learning-rate decay never
           happens (both milestones set 0.01): a matter of the recipe.

Shape key: B batch, K classes.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import ClassVar

import torch
from torch import Tensor, nn

from fairbench.attacks.linf import Start, per_sample, uniform_start
from fairbench.errors import BadInput
from fairbench.losses import cross_entropy, kl_divergence
from fairbench.methods.base import Batch, Method, StepLoss
from fairbench.sample_random import SampleRandom


def unclamped_start(x: Tensor, eps: float | Tensor, random: SampleRandom) -> Tensor:
    """Return a point drawn uniformly from the ball, which may lie outside [0, 1]."""
    return x + random.uniform(tuple(x.shape[1:]), -1.0, 1.0) * per_sample(eps, x)


class ARD(Method):
    """Minimise alpha * T^2 * KL(t(x) / T || f(x_adv) / T) / K + (1 - alpha) * CE(f(x), y).

    The teacher t sees the natural image; x_adv is from PGD on the cross-entropy. The division by K is the mean over
    batch and classes of the released code.
    """

    name: ClassVar[str] = "ard"
    roles: ClassVar[tuple[str, ...]] = ("robust",)
    gives: ClassVar[tuple[str, ...]] = ("natural", "robust", "survived", "teacher")
    temperature: float = 30.0
    alpha: float = 1.0
    clamp_start: bool = True

    def check(self) -> None:
        """Raise BadInput where alpha is above 1 or the temperature is 0."""
        super().check()
        if self.alpha > 1 or self.temperature == 0:
            raise BadInput(
                f"alpha must lie in [0, 1] and the temperature above 0, but are {self.alpha} and {self.temperature}."
            )

    def idle_terms(self) -> set[str]:
        """Return the natural loss where alpha is 1."""
        return {"natural"} if self.alpha == 1 else set()

    @property
    def start(self) -> Start:
        """The attack's starting point."""
        return uniform_start if self.clamp_start else unclamped_start

    def asks_of_x(self) -> tuple[str, ...]:
        """Return the role of the teacher that labels the natural image."""
        return ("robust",)

    def attack(self, model: nn.Module, batch: Batch, random: SampleRandom) -> Batch:
        """Return the batch with the teacher's logits of x and with PGD examples."""
        return self.craft(model, self.ask(batch, "robust"), random, start=self.start)

    def loss(self, model: nn.Module, batch: Batch) -> StepLoss:
        """Return the divergence of x_adv from the teacher's softened label, and the cross-entropy of x."""
        robust = model(batch.adversarial)
        with nullcontext() if self.alpha < 1 else torch.no_grad():
            natural = model(batch.x)
        label = self.tempered(batch.extra["robust_x"], batch.y, "robust")
        divergence = kl_divergence(label / self.temperature, robust / self.temperature) / self.num_classes
        terms = {
            "robust": (self.alpha * self.temperature**2, divergence),
            "natural": (1 - self.alpha, cross_entropy(natural, batch.y)),
        }
        return self.reduce(batch.y, terms, {"robust": robust, "natural": natural})
