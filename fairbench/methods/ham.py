"""HAM: hard adversarial example mining (Lin et al., IEEE TIFS 2025).

Paper      Hard adversarial example mining for improving robust fairness, https://arxiv.org/abs/2308.01823
Official   https://github.com/yyl-github-1896/HAM @ e3ee5ffe52
Published  none that could be read.
Measured   accuracy on MNIST in benchmarks/results, not at the scale of the paper. Variant "released" against the
           released step on random inputs with the same noise, before and after `begin`, half of the images dropped:
           loss to 2e-15, gradient equal; weights "steps" as in GAIRAT.
Differs    `variant` "paper" is what could be read of the paper: hard are the images that cross the boundary within
           `drop_step` steps, and they are weighed by how many they need. Its formula could not be read: `weighting`
           "steps" has the shape of GAIRAT's tanh, a file of the same repository. "released" keeps what iterate number
           drop_step gets wrong, with weights of 1; its CIFAR-100 script also keeps 30 % of the confident rest, by code
           that was not published. The released code stops with an error where a batch has no survivor; here a step
           where any process has fewer than 2 hard images is skipped and counted, and what dropping saved in it is not.
           It attacks a network normalised otherwise than the one it trains, and starts from a robust model (`--init`).

Shape key: B batch, b rows that are left, K classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from fairbench import distributed
from fairbench.attacks.linf import linf_step, uniform_start
from fairbench.errors import BadInput
from fairbench.losses import cross_entropy
from fairbench.methods.base import Batch, EpochState, StepLoss
from fairbench.methods.class_meter import ClassMeter
from fairbench.methods.sat import SAT
from fairbench.sample_random import SampleRandom


class HAM(SAT):
    """Minimise the mean over hard images of weight * CE(f(x_adv), y); before `begin` it is SAT.

    Images that `drop_step` steps of PGD did not get across the boundary are dropped; the others take the remaining
    steps. `weighting` "steps" (variant "paper" only): with k the number of steps to the first misclassified iterate,
    weight (tanh(slope * (1 - 2 k / steps) - shift) + 1) / 2, scaled to a mean of 1. `mean_over` "batch" divides by all
    images instead of the hard ones.

    `survivor_share` is each class's share of hard images in this epoch so far; `saved_forwards` and `saved_backwards`
    count the passes that dropping has saved over all processes, in attack and loss, in steps that were taken.
    """

    name: ClassVar[str] = "ham"
    gives: ClassVar[tuple[str, ...]] = ("robust",)
    later: ClassVar[Mapping[str, str]] = {"HAM to mine hard examples": "begin"}
    step_share: float = 7 / 31  # 0.007 for a radius of 0.031
    variant: Literal["paper", "released"] = "paper"
    drop_step: int = 3
    begin: float = 50 / 120
    weighting: Literal["steps", "uniform"] = "steps"
    slope: float = 5.0
    shift: float = 1.0
    mean_over: Literal["survivors", "batch"] = "survivors"

    mining: Tensor
    survivor_share: Tensor
    saved_forwards: Tensor
    saved_backwards: Tensor
    survivors: ClassMeter

    def check(self) -> None:
        """Raise BadInput where nothing is left to do after dropping."""
        super().check()
        if self.drop_step >= self.steps:
            raise BadInput(f"drop_step must be below steps, but they are {self.drop_step} and {self.steps}.")

    def __init__(self, num_classes: int, **options: object) -> None:
        super().__init__(num_classes, **options)  # type: ignore[arg-type]
        self.register_buffer("mining", torch.zeros((), dtype=torch.bool))
        self.register_buffer("survivor_share", torch.ones(num_classes, dtype=torch.float64))
        self.register_buffer("saved_forwards", torch.zeros((), dtype=torch.int64))
        self.register_buffer("saved_backwards", torch.zeros((), dtype=torch.int64))
        self.survivors = ClassMeter(num_classes)

    def begin_epoch(self, state: EpochState) -> None:
        """Begin to mine when the time has come, and to tally anew."""
        super().begin_epoch(state)
        self.mining.fill_(state.epoch >= state.at(self.begin))
        self.survivors.reset()

    def attack(self, model: nn.Module, batch: Batch, random: SampleRandom) -> Batch:
        """Return the hard rows with their PGD examples; possibly none.

        Extras: "crossed", (b,), steps to the first misclassified iterate; "offered", (b, K), of which the sum over rows
        is the number of images of each class before dropping; "share", (b,), the share of all processes' images left.
        """
        if not self.mining:
            return self.craft(model, batch, random)
        offered, size = one_hot(batch.y, self.num_classes).sum(0), distributed.sum_(batch.x.new_tensor(len(batch)))
        eps, step_size = self.radius(batch.y)
        x_adv = uniform_start(batch.x, eps, random)
        batch = batch.plus(crossed=torch.full_like(batch.y, self.steps))
        for step in range(self.steps):

            def value(logits: Tensor, x_adv: Tensor, y: Tensor = batch.y) -> Tensor:
                return cross_entropy(logits, y)

            x_adv, logits = linf_step(model, x_adv, batch.x, value=value, eps=eps, step_size=step_size)
            wrong = logits.argmax(1) != batch.y  # of the iterate that `step` steps have led to
            crossed = batch.extra["crossed"]
            batch = batch.plus(crossed=torch.where(wrong, crossed.clamp(max=step), crossed))
            if step == self.drop_step:
                hard = wrong if self.variant == "released" else batch.extra["crossed"] <= step
                batch, x_adv, eps, step_size = batch.at(hard), x_adv[hard], eps[hard], step_size[hard]
                if len(batch) == 0:
                    break
        left = len(batch)
        share = distributed.sum_(batch.x.new_tensor(left)) / size
        offered_each = (offered.to(x_adv.dtype) / max(left, 1)).expand(left, -1)
        return batch.plus(x_adv=x_adv, offered=offered_each, share=share.expand(left))

    def loss(self, model: nn.Module, batch: Batch) -> StepLoss:
        """Return the weighed cross-entropy of the hard images' x_adv."""
        if "crossed" not in batch.extra:
            return super().loss(model, batch)
        logits = model(batch.adversarial)
        weight = self._hardness(batch.extra["crossed"])
        if self.mean_over == "batch":
            weight = weight * batch.extra["share"]
        return self.reduce(batch.y, {"robust": (weight, cross_entropy(logits, batch.y))}, {"robust": logits})

    def observe(self, batch: Batch, step: StepLoss) -> None:
        """Tally the hard images and what dropping the others has saved."""
        super().observe(batch, step)
        if "crossed" not in batch.extra:
            return
        offered = batch.extra["offered"].sum(0).to(torch.float64).round()
        self.survivors.total += one_hot(batch.y, self.num_classes).sum(0)
        self.survivors.count += offered
        share = distributed.sum_(self.survivors.total) / distributed.sum_(self.survivors.count)
        self.survivor_share.copy_(torch.where(share.isnan(), self.survivor_share, share))
        dropped = distributed.sum_(offered.sum() - len(batch)).to(torch.int64)
        for saved in (self.saved_forwards, self.saved_backwards):  # after the step that told, and the loss's pass
            saved += dropped * (self.steps - self.drop_step)

    def _hardness(self, crossed: Tensor) -> Tensor:
        """Return each row's weight, (b,), of mean 1 over all processes' rows."""
        if self.variant == "released" or self.weighting == "uniform":
            return torch.ones_like(crossed, dtype=torch.float64)
        weight = torch.tanh(self.slope * (1 - 2 * crossed.to(torch.float64) / self.steps) - self.shift) + 1
        return weight / distributed.mean_(weight)
