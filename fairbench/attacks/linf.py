"""The Linf ball: projection, starting points and one signed gradient step.

Shape key: B batch, K classes, C H W image. A radius or step size is one number, or (B,) with one value per sample;
both are in pixel units of [0, 1].
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from fairbench.sample_random import SampleRandom

#: A starting point: (x, eps, random) -> x_adv.
Start = Callable[[Tensor, float | Tensor, SampleRandom], Tensor]
#: What a step increases: (logits, x_adv) -> (B,).
Value = Callable[[Tensor, Tensor], Tensor]


def per_sample(value: float | Tensor, x: Tensor) -> float | Tensor:
    """Return `value` to broadcast against `x`: a (B,) tensor as (B, 1, 1, 1) of x's type, a number as it is."""
    if isinstance(value, Tensor) and value.ndim > 0:
        return value.to(x).reshape(-1, *[1] * (x.ndim - 1))
    return value


def project(x_adv: Tensor, x: Tensor, eps: float | Tensor) -> Tensor:
    """Return the nearest point to `x_adv` in the Linf ball of radius `eps` around `x` and in [0, 1]."""
    radius = per_sample(eps, x)
    return torch.minimum(torch.maximum(x_adv, x - radius), x + radius).clamp(0, 1)


def uniform_start(x: Tensor, eps: float | Tensor, random: SampleRandom) -> Tensor:
    """Return a point drawn uniformly from the ball, clamped to [0, 1]."""
    return (x + random.uniform(tuple(x.shape[1:]), -1.0, 1.0) * per_sample(eps, x)).clamp(0, 1)


def normal_start(x: Tensor, eps: float | Tensor, random: SampleRandom) -> Tensor:
    """Return x + 0.001 N(0, 1), not clamped: the start of TRADES (Zhang et al. 2019) and its descendants."""
    return x + 0.001 * random.normal(tuple(x.shape[1:]))


def no_start(x: Tensor, eps: float | Tensor, random: SampleRandom) -> Tensor:
    """Return x itself."""
    return x


def input_gradient(model: nn.Module, x_adv: Tensor, value: Value) -> tuple[Tensor, Tensor]:
    """Return the gradient of `value` with respect to `x_adv`, and the detached logits: one forward, one backward.

    Only the input's gradient is computed. Samples must not interact in the model (eval mode), so that the gradient of
    the sum is each sample's own.
    """
    with torch.enable_grad():
        x_adv = x_adv.detach().requires_grad_()
        logits = model(x_adv)
        (gradient,) = torch.autograd.grad(value(logits, x_adv).sum(), x_adv)
    return gradient, logits.detach()


def linf_step(
    model: nn.Module, x_adv: Tensor, x: Tensor, *, value: Value, eps: float | Tensor, step_size: float | Tensor
) -> tuple[Tensor, Tensor]:
    """Step along the sign of the gradient of `value` and project.

    Returns:
        The next iterate in the ball and in [0, 1], and the (B, K) detached logits at `x_adv`, before the step.
    """
    gradient, logits = input_gradient(model, x_adv, value)
    return project(x_adv.detach() + per_sample(step_size, x) * gradient.sign(), x, eps), logits
