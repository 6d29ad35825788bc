"""How much of all attacks is done: costs by hand, and the survivors that a cascade is expected to meet."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from fairbench.attacks import parse_attacks
from fairbench.evaluation.evaluate import evaluate
from fairbench.evaluation.work_left import WorkLeft, attack_cost, part_cost
from fairbench.progress import Silent
from fairbench.threat import Threat

LINF = Threat.parse("Linf", "8/255")


def test_costs_are_forwards_and_a_backward_is_two() -> None:
    """pgd20: 20 x (1 + 2) + the last forward; cw5 with 2 restarts: 2 x (15 + 1). AutoAttack's parts: their
    published budgets, apgd-ce 102 forwards and 101 backwards."""
    costs = [attack_cost(config.resolved(LINF, 10)) for config in parse_attacks(["fgsm", "pgd20", "cw5(restarts=2)"])]
    assert costs == [4, 61, 32]
    assert part_cost("apgd-ce", {"steps": 100, "restarts": 1}, 10) == 102 + 2 * 101


class Rows:
    """What a unit says of 10 samples."""

    def __init__(self, right: int) -> None:
        self.frame = pd.DataFrame({"prediction": [1] * right + [0] * (10 - right), "label": [1] * 10})


def test_a_part_is_expected_to_meet_what_the_strongest_attack_left() -> None:
    """10 samples, costs 1, 10, 50, 100. Before anything is known 10 + 100 + 500 + 1,000 are to do. Natural leaves 9 to
    the first part; once pgd left 4, the second part is expected to meet 4: 10 + 100 + 450 + 400; it meets 3."""
    work = WorkLeft([("natural", 1, None), ("pgd", 10, None), ("a", 50, "natural"), ("b", 100, "a")], 10)
    assert work.share("natural", 5) == pytest.approx(5 / 1610)
    work.end("natural", [Rows(9)])
    assert work.share("pgd", 5) == pytest.approx((10 + 50) / (10 + 100 + 450 + 900))
    work.end("pgd", [Rows(4)])
    assert work.share("a", 0) == pytest.approx(110 / 960)
    work.end("a", [Rows(3)])
    assert work.share("b", 0) == pytest.approx(560 / 860)
    assert work.share("b", 3) == 1.0


class Shares(Silent):
    def __init__(self) -> None:
        self.seen: list[float] = []

    def whole(self, share: float, *, anew: bool = False) -> None:
        self.seen.append(share)


def test_an_evaluation_goes_from_nothing_to_everything(model, dataset, tmp_path: Path) -> None:
    shares = Shares()
    attacks = "fgsm,pgd5,aa(steps=3,queries=20)"
    evaluate(model, dataset, attacks, eps="0.1", batch_size=4, out=tmp_path / "run", progress=shares)
    assert shares.seen[0] == 0
    assert shares.seen[-1] == pytest.approx(1)
    assert shares.seen == sorted(shares.seen)
