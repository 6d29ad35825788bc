"""The L2 ball: projection, starting points, one normalised gradient step, and PGD with it.

Shape key: B batch, K classes, C H W image. A radius or step size is one number, or (B,) with one value per sample.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from fairbench.attacks.linf import Start, Value, input_gradient, per_sample
from fairbench.attacks.pgd import Objective, OnStep, iterate
from fairbench.sample_random import SampleRandom


def _norm(x: Tensor) -> Tensor:
    """Return each sample's Euclidean norm, shaped to broadcast against x."""
    # The largest entry is divided out first: squares of gradients near 1e-23 would underflow to a norm of 0.
    flat = x.flatten(1)
    largest = flat.abs().amax(1, keepdim=True)
    safe = torch.where(largest > 0, largest, torch.ones_like(largest))
    return (largest * (flat / safe).square().sum(1, keepdim=True).sqrt()).reshape(-1, *[1] * (x.ndim - 1))


def _unit(x: Tensor) -> Tensor:
    """Return each sample divided by its norm; zero stays zero."""
    flat = x.flatten(1)
    largest = flat.abs().amax(1).reshape(-1, *[1] * (x.ndim - 1))
    scaled = x / torch.where(largest > 0, largest, torch.ones_like(largest))
    norm = _norm(scaled)
    return scaled / torch.where(norm > 0, norm, torch.ones_like(norm))


def project(x_adv: Tensor, x: Tensor, eps: float | Tensor) -> Tensor:
    """Return `x_adv` pulled towards `x` onto the L2 ball of radius `eps`, then clamped to [0, 1].

    The clamp cannot leave the ball, since `x` lies in [0, 1].
    """
    delta = x_adv - x
    norm = _norm(delta)
    radius = per_sample(eps, x) * torch.ones_like(norm)
    factor = torch.where(norm > radius, radius / torch.where(norm > 0, norm, torch.ones_like(norm)), 1.0)
    return (x + delta * factor).clamp(0, 1)


def uniform_start(x: Tensor, eps: float | Tensor, random: SampleRandom) -> Tensor:
    """Return a point drawn uniformly from the L2 ball, clamped to [0, 1]: a uniform direction, length eps U^(1/D)."""
    shape = tuple(x.shape[1:])
    length = random.fork("length").uniform((1,) * len(shape)) ** (1 / math.prod(shape))
    return (x + _unit(random.normal(shape)) * length * per_sample(eps, x)).clamp(0, 1)


def l2_step(
    model: nn.Module, x_adv: Tensor, x: Tensor, *, value: Value, eps: float | Tensor, step_size: float | Tensor
) -> tuple[Tensor, Tensor]:
    """Step along the normalised gradient of `value` and project; returns what `linf_step` returns."""
    gradient, logits = input_gradient(model, x_adv, value)
    return project(x_adv.detach() + per_sample(step_size, x) * _unit(gradient), x, eps), logits


def pgd_l2(
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
    """Return the final iterate of `steps` normalised gradient steps in the L2 ball; arguments as in `pgd.pgd`."""
    return iterate(
        l2_step, model, x, y, eps=eps, random=random, step_size=step_size, steps=steps, start=start,
        objective=objective, on_step=on_step,
    )  # fmt: skip
