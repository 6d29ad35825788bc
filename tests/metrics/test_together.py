"""Attacks are worked out together for speed: what is written for one must not depend on the others beside it."""

from __future__ import annotations

import numpy as np
import pytest

from fairbench.metrics.summary import summarize
from fairbench.outcomes import Outcomes
from fairbench.runs import to_json


@pytest.mark.parametrize("classes", [2, 3, 10, 11, 43])
@pytest.mark.parametrize("even", [True, False])
def test_an_attack_alone_has_the_same_bytes_as_among_others(classes: int, even: bool) -> None:
    random = np.random.default_rng([classes, even])
    y = np.repeat(np.arange(classes), 40)
    y = y if even else y[np.sort(random.choice(y.size, 2 * y.size // 3, replace=False))]
    level = random.uniform(0.3, 0.9, classes)
    tables = []
    for power, attack in enumerate(("natural", "a", "b", "c")):
        right = random.random(y.size) < level[y] ** power
        tables.append(
            Outcomes.of_columns(
                attack, index=np.arange(y.size), label=y, prediction=np.where(right, y, (y + 1) % classes)
            )
        )
    names = [str(c) for c in range(classes)]
    together = summarize(Outcomes.concat(tables), names)["attacks"]
    for table in tables:
        ((attack, alone),) = summarize(table, names)["attacks"].items()
        assert to_json(together[attack]) == to_json(alone)
