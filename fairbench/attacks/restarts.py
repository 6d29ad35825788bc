"""Several restarts of an attack: each sample keeps its best example, and broken samples leave.

Shape key: B batch, C H W image.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from fairbench.losses import margin
from fairbench.sample_random import SampleRandom


def keep_best(
    attack: Callable[..., Tensor],
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    eps: float | Tensor,
    random: SampleRandom,
    restarts: int,
    judge: nn.Module | None = None,
    **options: Any,
) -> Tensor:
    """Return the best of `restarts` runs of `attack` per sample: a misclassified one, else the smallest margin.

    The first run uses `random` itself, so that one restart is the plain attack. Restart r > 0 uses the stream
    "restart r" and only sees samples that are still classified right.

    Args:
        attack: (model, x, y, *, eps, random, **options) -> x_adv.
        model: attacked.
        x: (B, C, H, W) pixels.
        y: (B,) labels.
        eps: radius, one number or (B,).
        random: the samples' streams.
        restarts: at least 1.
        judge: the model whose prediction decides, where the attack runs on a faster copy; None is `model`.
        options: passed on to `attack`.
    """
    best = attack(model, x, y, eps=eps, random=random, **options)
    if restarts == 1:
        return best
    judging = model if judge is None else judge
    best = best.clone()
    with torch.no_grad():
        logits = judging(best)
    lowest, broken = margin(logits, y), logits.argmax(1) != y
    for number in range(1, restarts):
        rows = (~broken).nonzero()[:, 0]
        if len(rows) == 0:
            break
        radius = eps[rows] if isinstance(eps, Tensor) and eps.ndim else eps
        other = attack(model, x[rows], y[rows], eps=radius, random=random.at(rows).fork(f"restart {number}"), **options)
        with torch.no_grad():
            logits = judging(other)
        below, wrong = margin(logits, y[rows]), logits.argmax(1) != y[rows]
        better = wrong | (below < lowest[rows])
        best[rows] = torch.where(better[:, None, None, None], other, best[rows])
        lowest[rows] = torch.where(better, below, lowest[rows])
        broken[rows] = wrong
    return best
