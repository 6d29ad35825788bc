"""The race for the worst class: small cases by hand, 200 races on tables whose answer is known, and its refusals."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from fairbench.errors import BadInput
from fairbench.metrics import race as module
from fairbench.metrics.race import Race
from fairbench.metrics.race_draws import Draws
from fairbench.metrics.race_threshold import Threshold
from fairbench.metrics.worst import worst_class_interval, worst_class_interval_within

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def simulation() -> Iterator[Any]:
    """benchmarks/find_worst.py, which imports its neighbours."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "benchmarks")
        yield importlib.import_module("find_worst")


def races(simulation: Any, name: str, below: float | None = None, *, confidence: float) -> list[tuple[bool, float]]:
    """Return the results of 200 races on tables of a profile."""
    profile, random = simulation.PROFILES[name], np.random.default_rng(7)
    tables = [profile.table(random, number) for number in range(200)]
    if below is None:
        return [simulation.run_race(table, confidence=confidence, batch=profile.batch) for table in tables]
    return [simulation.ask_threshold(t, below=below, confidence=confidence, batch=profile.batch) for t in tables]


def finish(race: Race | Threshold, verdicts: list[list[bool]], size: int = 16) -> None:
    """Give the race what it asks for, each class's verdicts in their order."""
    used = [0] * len(verdicts)
    while wanted := race.next_draws(size):
        assert sum(wanted.values()) <= size
        for label, number in wanted.items():
            race.observe(label, verdicts[label][used[label] : used[label] + number])
            used[label] += number


def test_a_class_far_below_is_found_without_drawing_the_others_out() -> None:
    verdicts = [[False] * 900, [False] * 900, [True] * 10 + [False] * 90]
    race = Race([900, 900, 100], [1000, 1000, 1000])
    finish(race, verdicts)
    answer = race.answer()
    assert (answer.worst, answer.tied, answer.robust, answer.count, answer.certain) == (2, (2,), 90, 1000, False)
    assert race.draws.drawn[2] == 100
    assert race.draws.drawn[:2].max() <= 20


def test_the_cheap_attack_alone_removes_nobody() -> None:
    """What looks best after the cheap attack is the worst: the rest of the cascade breaks nearly all of it."""
    verdicts = [[False] * 50, [False] * 60, [True] * 88 + [False] * 2]
    race = Race([50, 60, 90], [100, 100, 100])
    assert race.active.all()
    finish(race, verdicts)
    assert race.answer().worst == 2
    assert race.answer().robust == 2


def test_equal_classes_are_both_named_and_known_exactly() -> None:
    race = Race([5, 5, 9], [10, 10, 10])
    finish(race, [[True, False, False, False, False], [False, False, False, True, False], [False] * 9])
    answer = race.answer()
    assert (answer.worst, answer.tied, answer.robust) == (0, (0, 1), 4)


def test_a_class_without_survivors_is_the_worst_at_once() -> None:
    race = Race([0, 3], [10, 10])
    finish(race, [[], [True, True, False]])
    assert (race.answer().worst, race.answer().robust) == (0, 0)


def test_an_absent_class_takes_no_part() -> None:
    race = Race([0, 3, 5], [0, 10, 10])
    finish(race, [[], [False] * 3, [True] * 5])
    assert race.answer().worst == 2
    assert np.isnan(race.draws.estimate()[0])


def test_one_class_is_the_worst_and_is_drawn_out() -> None:
    race = Race([6], [10])
    finish(race, [[True, False, False, False, False, False]])
    answer = race.answer()
    assert (answer.worst, answer.robust, answer.certain) == (0, 5, True)


def test_classes_of_other_sizes_are_compared_by_accuracy() -> None:
    """4 of 10 is worse than 9 of 20, and 2 of 10 equals 4 of 20."""
    race = Race([4, 9], [10, 20])
    finish(race, [[False] * 4, [False] * 9])
    assert race.answer().worst == 0
    race = Race([2, 4], [10, 20])
    finish(race, [[False] * 2, [False] * 4])
    assert race.answer().tied == (0, 1)


def test_the_estimate_by_hand() -> None:
    """Prior Beta(1, 1), N = 10, S = 6, 3 drawn, 1 broken: share (1 + 1) / (2 + 3), (6 - 1 - 3 x 2/5) / 10 = 0.38."""
    draws = Draws([6], [10], prior=(1, 1))
    draws.observe(0, [True, False, False])
    assert draws.estimate()[0] == pytest.approx(0.38)


@pytest.mark.parametrize("name", ["cifar10-close", "small", "near-zero"])
def test_two_hundred_races_are_wrong_no_more_often_than_promised(simulation: Any, name: str) -> None:
    results = races(simulation, name, confidence=0.8)
    wrong, shares = sum(one for one, _ in results), [share for _, share in results]
    assert stats.binomtest(wrong, 200, 0.2, alternative="greater").pvalue > 0.001
    if simulation.PROFILES[name].cifar:
        assert np.mean(shares) < 1 / 3


@pytest.mark.parametrize("below", [0.23, 0.22])
def test_two_hundred_yes_no_answers_are_wrong_no_more_often_than_promised(simulation: Any, below: float) -> None:
    results = races(simulation, "cifar10-close", below, confidence=0.8)
    assert stats.binomtest(sum(one for one, _ in results), 200, 0.2, alternative="greater").pvalue > 0.001


@pytest.mark.parametrize("one_size", [True, False])
def test_the_interval_of_new_images_is_that_of_the_full_run_or_holds_it(one_size: bool) -> None:
    random, wider, undrawn, wrong = np.random.default_rng(3), 0, 0, 0
    for _ in range(40):
        count = np.full(4, 200) if one_size else np.array([0, 20, 200, 400, 190])
        survivors = random.binomial(count, 0.5)
        verdicts = [(random.random(s) < 0.2).tolist() for s in survivors]
        robust = np.array([s - sum(broken) for s, broken in zip(survivors, verdicts, strict=True)])
        race = Race(survivors, count)
        finish(race, verdicts)
        least, most = race.limits()
        accuracy = np.where(count > 0, robust / np.maximum(count, 1), np.inf)
        if accuracy[race.answer().worst] > accuracy.min():
            wrong += 1
            continue  # the limits trust the answer
        assert (least <= robust).all()
        assert (robust <= most).all()
        undrawn += int(race.draws.left.sum())
        mine, full = worst_class_interval_within(least, most, count), worst_class_interval(robust, count)
        assert mine[0] <= full[0] + 1e-12
        assert full[1] <= mine[1] + 1e-12
        wider += not np.allclose(mine, full, rtol=0, atol=1e-12)
    assert undrawn  # verdicts that nobody knew
    assert wrong <= 6  # of 40 at 95 %
    assert (wider == 0) if one_size else (wider > 0)


def test_a_race_that_believes_too_early_is_caught(simulation: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The simulation must be able to fail: with more evidence than there is, races on close classes go wrong."""
    honest = module.not_above
    monkeypatch.setattr(module, "not_above", lambda *arguments: 6 + 3 * honest(*arguments))
    profile = simulation.Profile((0.60, 0.61, 0.62), (0.30, 0.301, 0.302), count=400)
    random = np.random.default_rng(7)
    wrong = sum(simulation.run_race(profile.table(random, 0), confidence=0.95, batch=8)[0] for _ in range(200))
    assert stats.binomtest(wrong, 200, 0.05, alternative="greater").pvalue < 0.001


def test_yes_and_no_by_the_counts() -> None:
    """3 survivors of 10 cannot be 40 %: yes, without a draw. 10 of 10 robust cannot be below 100 %: no."""
    asked = Threshold([3, 9], [10, 10], below=0.4)
    assert (asked.verdict(), asked.certain) == (True, True)  # no verdict can lift 3 of 10
    asked = Threshold([10, 10], [10, 10], below=1.0)
    finish(asked, [[False] * 10, [False] * 10])
    assert (asked.verdict(), asked.certain) == (False, True)
    asked = Threshold([10, 10], [10, 10], below=0.5)
    finish(asked, [[True] * 6 + [False] * 4, [False] * 10])
    assert asked.verdict() is True


def test_few_verdicts_decide_without_certainty() -> None:
    asked = Threshold([90, 90], [100, 100], below=0.5)
    finish(asked, [[False] * 90, [False] * 90])
    assert asked.draws.drawn.sum() < 100
    assert (asked.verdict(), asked.certain) == (False, False)
    asked = Threshold([90], [100], below=0.5)
    finish(asked, [[True] * 90])
    assert asked.draws.drawn[0] < 41
    assert (asked.verdict(), asked.certain) == (True, False)
    assert not Threshold([90], [100], below=0.5).certain  # nothing is known yet


def test_exactly_at_the_threshold_is_not_below() -> None:
    asked = Threshold([250], [1000], below=0.25)
    finish(asked, [[False] * 250])
    assert asked.verdict() is False
    asked = Threshold([250], [1000], below=0.25)
    finish(asked, [[True] + [False] * 249])
    assert asked.verdict() is True


def test_the_bounds_hold_the_truth_and_shrink_to_it() -> None:
    draws, verdicts = Draws([80], [100]), np.random.default_rng(0).permutation([True] * 20 + [False] * 60)
    widths = []
    for place in range(80):
        draws.observe(0, verdicts[place : place + 1])
        low, high = draws.bounds(0, error=0.05)
        assert low <= 0.6 <= high
        widths.append(high - low)
    assert widths[-1] == 0
    assert widths[40] < widths[0]


def test_bad_input() -> None:
    for survivors, count, words in (
        ([1, 2], [3], "one count of survivors and of samples"),
        ([0], [0], "at least one sample"),
        ([4], [3], "from 0 to its number"),
        ([-1], [3], "from 0 to its number"),
    ):
        with pytest.raises(BadInput, match=words):
            Race(survivors, count)
    with pytest.raises(BadInput, match=r"between 0 and 1, such as 0\.95, but is 1"):
        Race([1], [2], confidence=1)
    with pytest.raises(BadInput, match="must be in"):
        Threshold([1], [2], below=25)
    race = Race([2, 2], [3, 3])
    with pytest.raises(BadInput, match="draw without replacement"):
        race.observe(0, [True] * 3)
    for ask in (race.answer, race.limits):
        with pytest.raises(BadInput, match="the race is not over"):
            ask()
