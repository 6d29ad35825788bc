"""What a stronger attack takes, by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from fairbench.errors import BadInput
from fairbench.metrics.gains import gain
from fairbench.outcomes import Outcomes


def table(weak: dict[int, list[bool]], strong: dict[int, list[bool]]) -> Outcomes:
    label = np.array([c for c, verdicts in weak.items() for _ in verdicts])
    rows = []
    for name, verdicts in (("weak", weak), ("strong", strong)):
        right = np.concatenate([np.array(one, dtype=bool) for one in verdicts.values()])
        rows.append(
            Outcomes.of_columns(
                name, index=np.arange(len(label)), label=label, prediction=np.where(right, label, (label + 1) % 3)
            )
        )
    return Outcomes.concat(rows)


def test_by_hand():
    """Class 0: 4 of 6 survive, 3 of them fall, 1 comes back: (3 - 1) / 6 points and 3/4 of what was left.

    Class 1: 20 survive, 10 fall: McNemar 2 * 2^-10; times 2 classes (Holm).
    """
    weak = {0: [True] * 4 + [False] * 2, 1: [True] * 20}
    strong = {0: [True, False, False, False, True, False], 1: [True] * 10 + [False] * 10}
    found = gain(table(weak, strong), "weak", "strong", 3)
    assert found.pairs.lost.tolist() == [3, 10, 0]
    assert found.points[:2].tolist() == pytest.approx([2 / 6, 0.5])
    assert found.share[:2].tolist() == [3 / 4, 1 / 2]
    assert np.isnan([found.points[2], found.share[2], found.p_holm[2]]).all()
    assert found.p_holm[0] == pytest.approx(stats.binomtest(1, 4, 0.5).pvalue)
    assert found.p_holm[1] == pytest.approx(2 * 2 * 0.5**10)
    assert found.decided == [1]
    assert found.average.value == pytest.approx(12 / 26)
    assert found.average.low <= found.average.value <= found.average.high


def test_a_class_with_nothing_left_has_no_share():
    found = gain(table({0: [False] * 3, 1: [True] * 3}, {0: [False] * 3, 1: [True] * 3}), "weak", "strong", 3)
    assert np.isnan(found.share[0])
    assert found.share[1] == 0


def test_other_samples_are_refused():
    rows = table({0: [True], 1: [True]}, {0: [True], 1: [True]})
    few = Outcomes.concat([rows, Outcomes.of_columns("few", index=[0], label=[0], prediction=[0])])
    with pytest.raises(BadInput, match="different samples"):
        gain(few, "weak", "few", 3)
