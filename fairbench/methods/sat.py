"""SAT: standard adversarial training, PGD-AT (Madry et al., ICLR 2018).

Paper      Towards deep learning models resistant to adversarial attacks, https://arxiv.org/abs/1706.06083, eq. 2.1
Official   none for PyTorch.
Published  CIFAR-10, ResNet-18: natural 82.57, PGD-20 51.28 (third-party re-run; best epoch chosen on test images).
Measured   see README.
Differs    nothing known; step size eps/4 and 10 steps as in later re-implementations.
"""

from __future__ import annotations

from typing import ClassVar

from torch import nn

from fairbench.losses import cross_entropy
from fairbench.methods.base import Batch, Method, StepLoss
from fairbench.sample_random import SampleRandom


class SAT(Method):
    """Minimise CE(f(x_adv), y), x_adv from PGD on the same loss with a uniform start."""

    name: ClassVar[str] = "sat"
    gives: ClassVar[tuple[str, ...]] = ("robust", "survived")

    def attack(self, model: nn.Module, batch: Batch, random: SampleRandom) -> Batch:
        """Return the batch with PGD examples."""
        return self.craft(model, batch, random)

    def loss(self, model: nn.Module, batch: Batch) -> StepLoss:
        """Return the mean cross-entropy of x_adv."""
        logits = model(batch.adversarial)
        return self.reduce(batch.y, {"robust": (1.0, cross_entropy(logits, batch.y))}, {"robust": logits})
