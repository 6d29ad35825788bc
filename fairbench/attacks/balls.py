"""BALLS: what an attack needs to know of a norm."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor

from fairbench.attacks import l2, linf
from fairbench.attacks.pgd import Descent, pgd
from fairbench.threat import Norm


@dataclass(frozen=True)
class Ball:
    """What differs between norms: the descent, the projection (x_adv, x, eps) and the starting points by name."""

    descend: Descent
    project: Callable[[Tensor, Tensor, float | Tensor], Tensor]
    starts: Mapping[str, linf.Start]


BALLS: dict[Norm, Ball] = {
    "Linf": Ball(
        pgd, linf.project, {"uniform": linf.uniform_start, "normal": linf.normal_start, "none": linf.no_start}
    ),
    "L2": Ball(
        l2.pgd_l2, l2.project, {"uniform": l2.uniform_start, "normal": linf.normal_start, "none": linf.no_start}
    ),
}
