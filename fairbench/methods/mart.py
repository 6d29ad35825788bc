"""MART: misclassification-aware adversarial training (Wang et al., ICLR 2020).

Paper      Improving adversarial robustness requires revisiting misclassified examples,
           https://openreview.net/forum?id=rklOg6EFwS
Official   https://github.com/YisenWang/MART @ 2d83e17b38
Published  CIFAR-10, ResNet-18: natural 78.59, PGD-20 54.87 (third-party re-run; best epoch chosen on test images).
Measured   accuracy on MNIST in benchmarks/results, not at the scale of the paper. Against the released loss and attack
           on random inputs with the same noise: loss to 7e-8, gradient to 9e-8 (its largest entry 4).
Differs    beta is 5 (the released ResNet-18 script; 6 for its WRN). The released 1e-12 within logarithms is left out.

Shape key: B batch, K classes.
"""

from __future__ import annotations

from typing import ClassVar

from torch import nn

from fairbench.attacks.linf import normal_start
from fairbench.losses import cross_entropy, kl_divergence
from fairbench.methods.base import Batch, Method, StepLoss
from fairbench.sample_random import SampleRandom


class MART(Method):
    """Minimise CE(f(x_adv), y) - log(1 - max_{k != y} p_k(x_adv)) + beta * (1 - p_y(x)) * KL(f(x) || f(x_adv)).

    x_adv is from PGD on the cross-entropy, started 0.001 N(0, 1) from x. Nothing is detached. All of it is one loss on
    adversarial images, so that a class weight weighs all of it.
    """

    name: ClassVar[str] = "mart"
    gives: ClassVar[tuple[str, ...]] = ("robust", "survived")
    beta: float = 5.0
    step_share: float = 7 / 31  # 0.007 for a radius of 0.031

    def attack(self, model: nn.Module, batch: Batch, random: SampleRandom) -> Batch:
        """Return the batch with PGD examples."""
        return self.craft(model, batch, random, start=normal_start)

    def loss(self, model: nn.Module, batch: Batch) -> StepLoss:
        """Return the boosted cross-entropy of x_adv plus the divergence, weighed by how unsure x's prediction is."""
        natural, robust = model(batch.x), model(batch.adversarial)
        label = batch.y[:, None]
        rival = robust.softmax(1).scatter(1, label, 0.0).amax(1)
        confidence = natural.softmax(1).gather(1, label)[:, 0]
        # The released constants keep the logarithm finite and the weight above zero.
        boosted = cross_entropy(robust, batch.y) - (1.0001 - rival).log()
        total = boosted + self.beta * (1.0000001 - confidence) * kl_divergence(natural, robust)
        return self.reduce(batch.y, {"robust": (1.0, total)}, {"robust": robust})
