"""PGD that stops a sample at its first misclassified iterate (the evaluation attack of FAAL and others).

The plain attack's final iterate may be classified right again; here a sample that was broken on the way stays broken.
Nothing waits for the device: stopped samples are frozen, not removed.

Shape key: B batch, K classes, C H W image.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from fairbench.attacks.linf import Start, uniform_start
from fairbench.attacks.pgd import Descent, Objective
from fairbench.losses import cross_entropy
from fairbench.sample_random import SampleRandom


def stopping(
    descend: Descent, project: Callable[[Tensor, Tensor, float | Tensor], Tensor], judge: nn.Module | None = None
) -> Descent:
    """Return `descend` so that each sample ends at its first misclassified iterate, the start included.

    Args:
        descend: `pgd` or `pgd_l2`.
        project: (x_adv, x, eps) -> x_adv in the ball, since a start need not lie in it.
        judge: where the attack runs on a faster copy: the model whose misclassification counts. An iterate that it
            classifies right is replaced by the final one.
    """

    def stopped(
        model: nn.Module,
        x: Tensor,
        y: Tensor,
        *,
        eps: float | Tensor,
        random: SampleRandom,
        objective: Objective | None = None,
        start: Start = uniform_start,
        **options: Any,
    ) -> Tensor:
        found = torch.zeros(len(y), dtype=torch.bool, device=x.device)
        x_found = x

        def watching(logits: Tensor, x_adv: Tensor, rows: Tensor) -> Tensor:
            nonlocal found, x_found
            with torch.no_grad():
                new = (logits.argmax(1) != y[rows]) & ~found
                x_found = torch.where(new[:, None, None, None], x_adv.detach(), x_found)
                found = found | new
            return cross_entropy(logits, y[rows]) if objective is None else objective(logits, x_adv, rows)

        def inside(x: Tensor, eps: float | Tensor, random: SampleRandom) -> Tensor:
            return project(start(x, eps, random), x, eps)

        x_last = descend(model, x, y, eps=eps, random=random, objective=watching, start=inside, **options)
        if judge is not None:
            with torch.no_grad():
                found = found & (judge(x_found).argmax(1) != y)
        return torch.where(found[:, None, None, None], x_found, x_last)

    return stopped
