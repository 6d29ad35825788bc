"""BAT: balance adversarial training (Sun et al., AAAI 2023).

Paper      Improving robust fairness via balance adversarial training, https://arxiv.org/abs/2209.07534
Official   https://github.com/silvercherry/Improving-Robust-Fairness-via-Balance-Adversarial-Training @ 9bcee67aed
Published  Worst class up by 5 to 10 points (abstract); as re-run by DAFA's authors on CIFAR-10, ResNet-18: robust
           45.89 +- .20, worst class 17.82 +- 1.09, below TRADES.
Measured   accuracy on MNIST in benchmarks/results, not at the scale of the paper. Against the released attacks and
           loss on random inputs with the same noise: iterates to 4e-10, loss and gradient to 3e-9.
Differs    nothing known; samples that are done leave the attack, as there.

Shape key: B batch, K classes.
"""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor, nn

from fairbench.attacks.linf import linf_step, normal_start
from fairbench.losses import cross_entropy, kl_divergence
from fairbench.methods.base import Batch, Method, StepLoss
from fairbench.sample_random import SampleRandom


def divergence_to_uniform(logits: Tensor) -> Tensor:
    """Return KL(softmax(logits) || U), (B,): log K minus the entropy."""
    log_p = logits.log_softmax(1)
    return (log_p.exp() * log_p).sum(1) + math.log(logits.shape[1])


class BAT(Method):
    """Minimise CE(f(x_last), y) + beta * KL(f(x) || f(x_first)) + KL(f(x_last) || U) + KL(f(x_first) || U).

    Both images lie at the decision boundary, on two trajectories of PGD on KL(f(x) || f(.)), each started 0.001 N(0, 1)
    from x: x_last is the last iterate before the first one that is misclassified; x_first is the first one that is
    misclassified after `patience` others were. An image not fooled by any iterate before the last step gives the last
    one.
    """

    name: ClassVar[str] = "bat"
    gives: ClassVar[tuple[str, ...]] = ("natural", "robust")
    beta: float = 6.0
    patience: int = 1
    step_share: float = 7 / 31  # 0.007 for a radius of 0.031

    def attack(self, model: nn.Module, batch: Batch, random: SampleRandom) -> Batch:
        """Return the batch with x_first as its adversarial images, and extra "x_last"."""
        natural = model(batch.x)
        last = self._follow(model, batch, random.fork("last"), natural, patience=0, step_back=True)
        first = self._follow(model, batch, random.fork("first"), natural, patience=self.patience, step_back=False)
        return batch.plus(x_adv=first, x_last=last)

    def loss(self, model: nn.Module, batch: Batch) -> StepLoss:
        """Return the loss in three forwards; the natural term is that of x_last, whose gradient is at the boundary."""
        last, first, natural = model(batch.extra["x_last"]), model(batch.adversarial), model(batch.x)
        terms = {
            "natural": (1.0, cross_entropy(last, batch.y)),
            "robust": (self.beta, kl_divergence(natural, first)),
            "uniform": (1.0, divergence_to_uniform(last) + divergence_to_uniform(first)),
        }
        return self.reduce(batch.y, terms, {"natural": natural, "robust": first})

    def _follow(
        self, model: nn.Module, batch: Batch, random: SampleRandom, natural: Tensor, *, patience: int, step_back: bool
    ) -> Tensor:
        """Return, of each trajectory, the iterate misclassified after `patience` others were, or the one before it."""
        eps, step_size = self.radius(batch.y)
        x_adv = previous = normal_start(batch.x, eps, random).clamp(0, 1)
        found, wrong = torch.empty_like(x_adv), torch.zeros_like(batch.y)
        rows = torch.arange(len(batch), device=batch.y.device)
        for _ in range(self.steps):
            target = natural[rows]

            def value(logits: Tensor, x_adv: Tensor, target: Tensor = target) -> Tensor:
                return kl_divergence(target, logits)

            after, logits = linf_step(
                model, x_adv, batch.x[rows], value=value, eps=eps[rows], step_size=step_size[rows]
            )
            wrong[rows] += logits.argmax(1) != batch.y[rows]
            going = wrong[rows] <= patience
            found[rows[~going]] = (previous if step_back else x_adv)[~going]
            previous, x_adv, rows = x_adv[going], after[going], rows[going]
            if len(rows) == 0:
                break
        found[rows] = x_adv
        return found
