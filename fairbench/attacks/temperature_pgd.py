"""Temperature-PGD (Tian et al., KDD 2021, arXiv 2105.14240): PGD on the cross-entropy of logits at a temperature.

Paper      "enlarge the robustness disparity among classes with a temperature factor on the confidence distribution"
Differs    the paper's text that could be read does not say whether logits are divided or multiplied, nor the value:
           `where` is explicit and T has no default.

Shape key: B batch, K classes, C H W image.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn

from fairbench.attacks.pgd import Descent, pgd
from fairbench.errors import BadInput
from fairbench.sample_random import SampleRandom


def tempered_margin(logits: Tensor, y: Tensor, temperature: float) -> Tensor:
    """Return T logsumexp_{j != y}(z_j / T) - z_y, (B,): it has the direction of the tempered cross-entropy's gradient.

    The cross-entropy at temperature T is log(1 + exp(s / T)) for this value s: an increasing function of it, so that
    signed and normalised steps are the same. But where s / T is far below 0 its gradient underflows to zero (in
    float32 below about -100, which T = 0.01 reaches on any confident image), and the attack would stall; this one
    does not. For T -> 0 it is minus the margin.
    """
    own = logits.gather(1, y[:, None])[:, 0]
    rivals = logits.scatter(1, y[:, None], -torch.inf)
    top = rivals.amax(1, keepdim=True).detach()
    return temperature * torch.logsumexp((rivals - top) / temperature, 1) + top[:, 0] - own


def temperature_pgd(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    eps: float | Tensor,
    random: SampleRandom,
    temperature: float,
    where: Literal["divide", "multiply"] = "divide",
    descend: Descent = pgd,
    **options: Any,
) -> Tensor:
    """Return PGD's final iterate on the cross-entropy of z / T (where="divide") or z T (where="multiply").

    T = 1 is PGD on the cross-entropy, bit for bit.

    Args:
        model: pixels in, logits out.
        x: (B, C, H, W) pixels.
        y: (B,) labels.
        eps: radius, one number or (B,).
        random: the samples' streams.
        temperature: T, between 1e-6 and 1e6.
        where: how T enters.
        descend: `pgd` or `pgd_l2`.
        options: steps, step_size, start, on_step of `descend`.

    Raises:
        BadInput: T is not between 1e-6 and 1e6.
    """
    if not 1e-6 <= temperature <= 1e6:
        raise BadInput(f"the temperature T must lie between 1e-6 and 1e6, but is {temperature}.")
    divisor = temperature if where == "divide" else 1 / temperature

    def objective(logits: Tensor, x_adv: Tensor, rows: Tensor) -> Tensor:
        return tempered_margin(logits, y[rows], divisor)

    return descend(model, x, y, eps=eps, random=random, objective=None if divisor == 1 else objective, **options)
