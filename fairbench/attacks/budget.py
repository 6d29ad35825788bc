"""What a part of AutoAttack may spend on one sample: the published budget, as the official implementation counts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Budget:
    """Forwards and backwards of one sample that survives a part."""

    forwards: int
    backwards: int


def part_budget(name: str, keywords: Mapping[str, Any], num_classes: int) -> Budget:
    """Return a part's budget.

    apgd-ce has 102 forwards, apgd-t 919, fab-t 1,828 and square 5,003 with 9 targets, 100 steps and 5,000 queries.

    Args:
        name: of the part.
        keywords: of the part, resolved, as run.json has them.
        num_classes: K; FAB without targets differentiates every class's logit in each step.
    """
    if name == "square":
        return Budget(int(keywords["queries"]) + 3, 0)
    runs = int(keywords.get("targets", 1)) * int(keywords["restarts"]) * int(keywords.get("draws", 1))
    steps = int(keywords["steps"])
    # Once who is right by nature; with targets again for each of them.
    targeted = "targets" in keywords
    looks = runs + 1 if targeted else 1
    if name.startswith("fab"):
        # Each step asks whether it crossed.
        return Budget(runs * (2 * steps + 2) + looks, runs * steps * (1 if targeted else num_classes))
    # Each of L1's three stages looks at its start anew.
    starts = 3 if keywords.get("staged") else 1
    return Budget(runs * (steps + starts) + looks, runs * (steps + starts))
