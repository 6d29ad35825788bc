"""CW-Linf: PGD on the margin loss of Carlini & Wagner (2017, arXiv 1608.04644): "CW" in adversarial training tables.

It is not their L2 minimum-norm attack.

Shape key: B batch, K classes, C H W image.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from fairbench.attacks.pgd import Descent, pgd
from fairbench.losses import margin
from fairbench.sample_random import SampleRandom


def cw(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    eps: float | Tensor,
    random: SampleRandom,
    kappa: float | None = None,
    descend: Descent = pgd,
    **options: Any,
) -> Tensor:
    """Return PGD's final iterate on minus the margin z_y - max_{j != y} z_j.

    Args:
        model: pixels in, logits out.
        x: (B, C, H, W) pixels.
        y: (B,) labels.
        eps: radius, one number or (B,).
        random: the samples' streams.
        kappa: confidence in logits, at least 0: the loss -max(margin + kappa, 0) rests once the margin is below
            -kappa. None: it never rests.
        descend: `pgd` or `pgd_l2`.
        options: steps, step_size, start, on_step of `descend`.
    """

    def objective(logits: Tensor, x_adv: Tensor, rows: Tensor) -> Tensor:
        value = margin(logits, y[rows])
        return -value if kappa is None else -(value + kappa).clamp(min=0)

    return descend(model, x, y, eps=eps, random=random, objective=objective, **options)
