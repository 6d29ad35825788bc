"""FAAL: fairness-aware adversarial learning (Zhang, Zhang, Mu, Huang & Ruan, CVPR 2024).

Paper      Towards fairness-aware adversarial learning, https://arxiv.org/abs/2402.17729
Official   https://github.com/TrustAI/FAAL @ b20ee9dbe6
Published  CIFAR-10, PreActResNet-18, logged, average / worst class: from TRADES PGD-20 48.93 / 34.6, with AWP
           52.42 / 39.4.
Measured   accuracy on MNIST in benchmarks/results, not at the scale of the paper. Against the released step on random
           inputs with the same examples, on SAT, TRADES and MART, r .1, .5 and 1: weights to 2e-7, loss to 5e-6 of 30,
           gradient to 2e-6 (its solver's tolerance).
Differs    The inner problem is solved exactly in one dimension, without a convex solver. FAAL on TRADES or MART is
           `--method trades --reweight faal`, with AWP by the recipe; on MART the released code attacks as TRADES does.
           It also runs x through the student in train mode on SAT, where only batch norm's statistics notice. Meant to
           fine-tune for 2 epochs from a robust model: `--init CHECKPOINT`.

Shape key: B batch, K classes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from fairbench import distributed
from fairbench.errors import BadInput
from fairbench.methods.base import Batch, StepLoss
from fairbench.methods.class_rule import ClassRule, Slot
from fairbench.methods.sat import SAT

_POINTS, _ROUNDS = 64, 9
_LOWEST = -650.0  # of log s: further down, probabilities that are 0 in float64 would only become smaller


def worst_distribution(gain: Tensor, r: float) -> Tensor:
    """Return the p, (K,), that maximises sum_c p_c gain_c over distributions with KL(U || p) <= r, U uniform.

    With multipliers a >= 0 for the divergence and v for the sum, gain_c + a / (K p_c) = v, so p_c is proportional to
    1 / (s + d_c), where d_c = max gain - gain_c and s = v - max gain > 0. Then KL(U || p) = log mean_c(1 / (s + d_c)) +
    mean_c log(s + d_c), the log of an arithmetic over a geometric mean, which falls from infinity to 0 as s grows: the
    constraint holds with equality at one s. As it is at most log(1 + max d / s), s is at most max d / (e^r - 1). The
    root is found by dividing an interval of log s into 64, 9 times over, on the device and without waiting for it.
    Where all gains are equal, or r = 0, p is uniform.
    """
    if r == 0:
        return torch.full_like(gain, 1 / len(gain))
    distance = gain.max() - gain
    scale = distance.max().clamp(min=torch.finfo(gain.dtype).tiny)
    distance = distance / scale
    low, high = gain.new_tensor(_LOWEST), gain.new_tensor(-math.log(math.expm1(r)))
    fractions = torch.linspace(0, 1, _POINTS + 1, dtype=gain.dtype, device=gain.device)
    for _ in range(_ROUNDS):
        points = low + (high - low) * fractions
        slack = points.exp()[:, None] + distance
        divergence = slack.reciprocal().mean(1).log() + slack.log().mean(1)
        above = (divergence > r).sum().clamp(1, _POINTS)
        low, high = points.gather(0, torch.stack([above - 1, above]))
    p = 1 / (high.exp() + distance)
    return p / p.sum()


class FAALRule(ClassRule):
    """Weights that make the batch's worst distribution of classes within KL(U || p) <= r.

    With m_c the mean over class c's samples of max_{j != y} p_j(x_adv) - p_y(x_adv) and n_c their number in the batch,
    over all processes, p maximises sum_c n_c m_c p_c, and a sample's weight is K p_y. An absent class has n_c = 0.
    """

    name: ClassVar[str] = "faal"
    needs: ClassVar[tuple[str, ...]] = ("robust",)
    r: float = 0.5

    applied: ClassVar[Mapping[Slot, tuple[str, ...]]] = {"reweight": ("class_weight",)}

    class_weight: Tensor

    def check(self) -> None:
        """Raise BadInput where the ball is wider than makes a difference."""
        if self.r > 100:
            raise BadInput(f"r, a divergence in nats, must lie in [0, 100], but is {self.r}.")

    def __init__(self, num_classes: int, **hyper: object) -> None:
        super().__init__(num_classes, **hyper)
        # Of the last step, for the log; every step solves for its own.
        self.register_buffer("class_weight", torch.ones(num_classes, dtype=torch.float64))

    def weight(self, y: Tensor, term: str, logits: Mapping[str, Tensor]) -> Tensor:
        """Return each sample's weight, the same for every loss."""
        return self._solve(y, logits["robust"])[y]

    def observe(self, batch: Batch, step: StepLoss) -> None:
        """Note the weights of the step."""
        self.class_weight.copy_(self._solve(batch.y, step.logits["robust"]))

    def _solve(self, y: Tensor, logits: Tensor) -> Tensor:
        """Return K p, (K,)."""
        probability = logits.to(torch.float64).softmax(1)
        label = y[:, None]
        margin = probability.scatter(1, label, 0.0).amax(1) - probability.gather(1, label)[:, 0]
        # n_c m_c is the sum of the margins of class c.
        gain = distributed.sum_(one_hot(y, self.num_classes).to(margin.dtype).T @ margin)
        return self.num_classes * worst_distribution(gain, self.r)


class FAAL(SAT):
    """SAT with its loss weighed by the worst distribution of classes in the batch."""

    name: ClassVar[str] = "faal"
    reweight: ClassVar[type[ClassRule] | None] = FAALRule
