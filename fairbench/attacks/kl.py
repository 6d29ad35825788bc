"""TRADES's attack (Zhang et al., ICML 2019, arXiv 1901.08573): PGD away from the natural prediction.

Shape key: B batch, K classes, C H W image.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from fairbench.attacks.linf import Start, normal_start
from fairbench.attacks.pgd import Descent, pgd
from fairbench.losses import kl_divergence
from fairbench.sample_random import SampleRandom


def kl(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    eps: float | Tensor,
    random: SampleRandom,
    start: Start = normal_start,
    descend: Descent = pgd,
    **options: Any,
) -> Tensor:
    """Return PGD's final iterate on KL(softmax f(x) || softmax f(x_adv)); the labels `y` are not used.

    It starts at x + 0.001 N(0, 1), because the gradient at x itself is zero, and costs one forward more than PGD.
    """
    with torch.no_grad():
        natural = model(x)

    def objective(logits: Tensor, x_adv: Tensor, rows: Tensor) -> Tensor:
        return kl_divergence(natural[rows], logits)

    return descend(model, x, y, eps=eps, random=random, start=start, objective=objective, **options)
