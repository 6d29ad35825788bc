"""Projected gradient descent in the Linf ball (Madry et al., ICLR 2018, arXiv 1706.06083).

Shape key: B batch, K classes, C H W image.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor, nn

from fairbench.attacks.linf import Start, Value, linf_step, uniform_start
from fairbench.losses import cross_entropy
from fairbench.sample_random import SampleRandom

#: What an attack increases: (logits, x_adv, rows) -> (b,). `rows` are positions in the batch that the attack was given.
Objective = Callable[[Tensor, Tensor, Tensor], Tensor]
#: Sees each iterate's logits before the step: (logits, rows).
OnStep = Callable[[Tensor, Tensor], None]


class Step(Protocol):
    """One step within a ball, `linf_step` or `l2_step`."""

    def __call__(
        self,
        model: nn.Module,
        x_adv: Tensor,
        x: Tensor,
        *,
        value: Value,
        eps: float | Tensor,
        step_size: float | Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Return the next iterate and the logits before the step."""


class Descent(Protocol):
    """Iterated steps in a ball, `pgd` or `pgd_l2`: what attacks with another objective are built on."""

    def __call__(
        self,
        model: nn.Module,
        x: Tensor,
        y: Tensor,
        *,
        eps: float | Tensor,
        random: SampleRandom,
        step_size: float | Tensor | None = ...,
        steps: int = ...,
        start: Start = ...,
        objective: Objective | None = ...,
        on_step: OnStep | None = ...,
    ) -> Tensor:
        """Return the final iterate."""


def pgd(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    eps: float | Tensor,
    random: SampleRandom,
    step_size: float | Tensor | None = None,
    steps: int = 10,
    start: Start = uniform_start,
    objective: Objective | None = None,
    on_step: OnStep | None = None,
) -> Tensor:
    """Return the final iterate of `steps` signed gradient steps, (B, C, H, W) in the Linf ball and in [0, 1].

    Each step costs one forward and one backward, and nothing waits for the device.

    Args:
        model: pixels in [0, 1] in, logits out; in eval mode unless a method asks otherwise.
        x: (B, C, H, W) pixels.
        y: (B,) labels; used where `objective` is None.
        eps: radius, one number or (B,).
        random: the samples' streams, for the start.
        step_size: one number or (B,); None is eps / 4.
        start: from (x, eps, random) to the first iterate.
        objective: the value to increase; None is the cross-entropy with `y`.
        on_step: called with the (B, K) logits of each iterate before its step, `steps` times.
    """
    return iterate(
        linf_step, model, x, y, eps=eps, random=random, step_size=step_size, steps=steps, start=start,
        objective=objective, on_step=on_step,
    )  # fmt: skip


def iterate(
    step: Step,
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    eps: float | Tensor,
    random: SampleRandom,
    step_size: float | Tensor | None,
    steps: int,
    start: Start,
    objective: Objective | None,
    on_step: OnStep | None,
) -> Tensor:
    """Run `steps` steps of `step` from `start`; the loop that PGD shares between norms (arguments as in `pgd`)."""
    rows = torch.arange(len(x), device=x.device)
    size = eps / 4 if step_size is None else step_size

    def value(logits: Tensor, x_adv: Tensor) -> Tensor:
        return cross_entropy(logits, y) if objective is None else objective(logits, x_adv, rows)

    x_adv = start(x, eps, random).detach()
    for _ in range(steps):
        x_adv, logits = step(model, x_adv, x, value=value, eps=eps, step_size=size)
        if on_step is not None:
            on_step(logits, rows)
    return x_adv
