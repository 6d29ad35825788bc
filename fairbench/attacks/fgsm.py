"""The fast gradient sign method (Goodfellow et al., ICLR 2015, arXiv 1412.6572): one step of the whole radius."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from fairbench.attacks.linf import Start, no_start
from fairbench.attacks.pgd import Descent, pgd
from fairbench.sample_random import SampleRandom


def fgsm(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    eps: float | Tensor,
    random: SampleRandom,
    step_size: float | Tensor | None = None,
    start: Start = no_start,
    descend: Descent = pgd,
    **options: Any,
) -> Tensor:
    """Return one step of `step_size` (None: eps) on the cross-entropy from `start` (default: x itself)."""
    size = eps if step_size is None else step_size
    return descend(model, x, y, eps=eps, random=random, step_size=size, steps=1, start=start, **options)
