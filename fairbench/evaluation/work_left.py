"""How much of an evaluation is left, over all its attacks, so that the time left can be told.

Counted in forwards of one sample, a backward as two. How many samples a cascade's later parts will meet is not known
before they begin: taken is the least number of samples that any finished attack left robust.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fairbench.attacks.budget import part_budget
from fairbench.outcomes import Outcomes


def attack_cost(keywords: Mapping[str, Any]) -> float:
    """Return what an attack that is no cascade costs per sample; `keywords` as run.json has them."""
    return float(keywords["restarts"] * (3 * keywords["steps"] + 1))


def part_cost(name: str, keywords: Mapping[str, Any], num_classes: int) -> float:
    """Return what a part of AutoAttack costs per sample that it does not break."""
    budget = part_budget(name, keywords, num_classes)
    return float(budget.forwards + 2 * budget.backwards)


@dataclass
class WorkLeft:
    """What one process has done of its share.

    Attributes:
        units: (name, cost per sample, the unit whose survivors it meets; None: all samples) in their order.
        samples: of this process.
    """

    units: Sequence[tuple[str, float, str | None]]
    samples: int
    _robust: dict[str, int] = field(init=False, default_factory=dict)

    def end(self, unit: str, rows: Sequence[Outcomes]) -> None:
        """Take note of what a unit left robust."""
        self._robust[unit] = sum(int((one.frame["prediction"] == one.frame["label"]).sum()) for one in rows)

    def share(self, unit: str, done: float) -> float:
        """Return the share of all work that is done, 0 to 1, when `done` samples of a unit are."""
        behind = total = 0.0
        passed = False
        for name, cost, before in self.units:
            total += cost * self._size(before)
            if name == unit:
                behind, passed = behind + cost * done, True
            elif not passed:
                behind += cost * self._size(before)
        return behind / total if total else 1.0

    def _size(self, before: str | None) -> int:
        if before is None:
            return self.samples
        return self._robust.get(before, min(self._robust.values(), default=self.samples))
