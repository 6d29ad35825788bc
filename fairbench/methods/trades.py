"""TRADES: a trade-off between natural accuracy and the stability of predictions (Zhang et al., ICML 2019).

Paper      Theoretically principled trade-off between robustness and accuracy, https://arxiv.org/abs/1901.08573, eq. 5
Official   https://github.com/yaodongyu/TRADES @ 6e8e11b7c2
Published  CIFAR-10, WRN-34-10, eps 0.031: natural 84.92, AutoAttack 53.08 (RobustBench).
Measured   accuracy: see README. Against the released loss, attack included, on random inputs with the same noise, with
           and without batch norm: examples equal, loss to 9e-16, gradient to 6e-16; float32, same examples: 5e-7, 6e-7.
Differs    The official loop runs x through the network twice in train mode (once for the cross-entropy, once for the
           divergence), so that batch norm sees three forwards per step; here the natural forward is shared (two).
           The loss and its gradient are the same, and with a third forward so are batch norm's statistics.

Shape key: B batch.
"""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn

from fairbench.attacks.linf import normal_start
from fairbench.losses import cross_entropy, kl_divergence
from fairbench.methods.base import Batch, Method, StepLoss
from fairbench.sample_random import SampleRandom


class TRADES(Method):
    """Minimise CE(f(x), y) + beta * KL(f(x) || f(x_adv)); x_adv maximises the divergence. f(x) is not detached."""

    name: ClassVar[str] = "trades"
    beta: float = 6.0
    step_share: float = 7 / 31  # 0.007 for a radius of 0.031

    def attack(self, model: nn.Module, batch: Batch, random: SampleRandom) -> Batch:
        """Return the batch with examples that maximise KL(f(x) || f(x_adv)), started 0.001 N(0, 1) from x."""
        natural = model(batch.x)

        def objective(logits: Tensor, x_adv: Tensor, rows: Tensor) -> Tensor:
            return kl_divergence(natural[rows], logits)

        return self.craft(model, batch, random, start=normal_start, objective=objective)

    def loss(self, model: nn.Module, batch: Batch) -> StepLoss:
        """Return the cross-entropy of x plus beta times the divergence of x_adv from x."""
        natural, robust = model(batch.x), model(batch.adversarial)
        first, second = self.coefficients()
        return self.reduce(
            batch.y,
            {"natural": (first, cross_entropy(natural, batch.y)), "robust": (second, kl_divergence(natural, robust))},
            {"natural": natural, "robust": robust},
        )

    def coefficients(self) -> tuple[float, float]:
        """Return those of the cross-entropy and of the divergence."""
        return 1.0, self.beta
