"""MTARD: multi-teacher adversarial robustness distillation (Zhao, Yu, Sun, Zhang & Wei, ECCV 2022).

Paper      Enhanced accuracy and robustness via multi-teacher adversarial distillation, ECCV 2022
Official   https://github.com/zhaoshiji123/MTARD @ 6480a1b40d
Published  none that could be read.
Measured   accuracy on MNIST in benchmarks/results, not at the scale of the paper. Against three released steps on
           random inputs with the same noise: gradient to 8e-9, weight to 1e-7 (the 1e-5 below), loss to 1e-5.
Differs    The extension B-MTARD, with teachers' temperatures balanced by entropy, is not here. The released loss adds
           1e-5 inside log(teacher), which shifts its value, and through the value the balance, a little; left out.
           Its CIFAR-100 script multiplies both losses by 10: `-p scale=10`.

Shape key: B batch, K classes.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from fairbench import distributed
from fairbench.attacks.linf import normal_start
from fairbench.losses import kl_divergence
from fairbench.methods.base import Batch, EpochState, Method, StepLoss
from fairbench.sample_random import SampleRandom

_TINY = 1e-12


class MTARD(Method):
    """Minimise (1 - w) * KL(t_robust(x_adv) || f(x_adv)) / K + w * KL(t_natural(x) || f(x)) / K, times `scale`.

    The weight w of the natural loss starts at 1/2 and moves, with each step and before its loss, towards the loss that
    has fallen less: w <- w - rate * (w - n^bert / (n^bert + r^bert)), where n and r are the natural and the robust
    loss over their values at the very first step. The rate decays with the learning rate. x_adv is from PGD on the
    cross-entropy, started 0.001 N(0, 1) from x.
    """

    name: ClassVar[str] = "mtard"
    roles: ClassVar[tuple[str, ...]] = ("robust", "natural")
    gives: ClassVar[tuple[str, ...]] = ("natural", "robust", "survived", "teacher")
    rate: float = 0.025
    bert: float = 1.0
    common_scale: ClassVar[float | None] = 10.0
    scale: float = 1.0

    natural_weight: Tensor
    first_natural: Tensor
    first_robust: Tensor
    decayed_rate: Tensor

    def __init__(self, num_classes: int, **options: object) -> None:
        super().__init__(num_classes, **options)  # type: ignore[arg-type]
        self.register_buffer("natural_weight", torch.tensor(0.5, dtype=torch.float64))
        # Losses of the first step; 0 until there was one.
        self.register_buffer("first_natural", torch.zeros((), dtype=torch.float64))
        self.register_buffer("first_robust", torch.zeros((), dtype=torch.float64))
        self.register_buffer("decayed_rate", torch.tensor(self.rate, dtype=torch.float64))

    def begin_epoch(self, state: EpochState) -> None:
        """Let the rate decay with the learning rate."""
        super().begin_epoch(state)
        self.decayed_rate.fill_(self.rate * state.lr_factor)

    def asks_of_x(self) -> tuple[str, ...]:
        """Return the role of the teacher that labels the natural image."""
        return ("natural",)

    def attack(self, model: nn.Module, batch: Batch, random: SampleRandom) -> Batch:
        """Return the batch with PGD examples and each teacher's logits of its image."""
        batch = self.craft(model, batch, random, start=normal_start)
        return self.ask(self.ask(batch, "robust", "x_adv"), "natural")

    def loss(self, model: nn.Module, batch: Batch) -> StepLoss:
        """Return the two divergences, balanced by the weight that this step moves to."""
        logits = {"robust": model(batch.adversarial), "natural": model(batch.x)}
        label = {"robust": batch.extra["robust_x_adv"], "natural": batch.extra["natural_x"]}
        losses = {
            term: kl_divergence(self.tempered(label[term], batch.y, term), student) / self.num_classes
            for term, student in logits.items()
        }
        weight, _ = self._balance(losses["natural"], losses["robust"])
        terms = {
            "robust": (self.scale * (1 - weight), losses["robust"]),
            "natural": (self.scale * weight, losses["natural"]),
        }
        return self.reduce(batch.y, terms, logits)

    def observe(self, batch: Batch, step: StepLoss) -> None:
        """Keep the weight that the step had."""
        super().observe(batch, step)
        weight, first = self._balance(step.terms["natural"], step.terms["robust"])
        self.natural_weight.copy_(weight)
        self.first_natural.copy_(first[0])
        self.first_robust.copy_(first[1])

    def _balance(self, natural: Tensor, robust: Tensor) -> tuple[Tensor, Tensor]:
        """Return the weight after this step's losses, over all processes, and the first step's two losses."""
        now = torch.stack([distributed.mean_(natural.double()), distributed.mean_(robust.double())])
        first = torch.stack([self.first_natural, self.first_robust])
        # A student that starts as a teacher's copy has losses of 0 at first.
        first = torch.where(first > 0, first, now)
        pace = (now / first.clamp(min=_TINY)) ** self.bert
        weight = self.natural_weight - self.decayed_rate * (self.natural_weight - pace[0] / pace.sum().clamp(min=_TINY))
        return weight, first
