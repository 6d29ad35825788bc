"""Which classes a targeted attack aims at: the label's strongest rivals on the natural image.

Shape key: B batch, K classes, T targets.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

#: AutoAttack's number of targets; fewer classes have fewer rivals.
TARGETS = 9


def num_targets(num_classes: int, wanted: int = TARGETS) -> int:
    """Return how many rivals are attacked: min(wanted, K - 1)."""
    return min(wanted, num_classes - 1)


def rivals(logits: Tensor, y: Tensor, count: int) -> Tensor:
    """Return the `count` classes with the largest logits that are not the label, the largest first, (B, T)."""
    # Ascending and flipped: where logits tie, the class that the original would take.
    others = logits.scatter(1, y[:, None], -math.inf)
    return others.sort(dim=1).indices.flip(1)[:, :count]
