"""The gate on hand-made tables: lost and gained are counted by hand, p = P(X >= lost), X ~ Bin(lost + gained, 1/2)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy.stats import binomtest

from fairbench.errors import BadInput, NotComparable
from fairbench.outcomes import Outcomes
from fairbench.reporting.gate import gate_table, new_flags, regression, same
from fairbench.runs import Run

FULL = {"natural": [100, 100], "pgd20": [80, 60]}


def _flipped(run: Run, attack: str, indices: list[int]) -> Run:
    """The run with the verdict of some samples under one attack turned round."""
    frame = run.outcomes.frame.copy()
    rows = (frame["attack"] == attack) & frame["index"].isin(indices)
    right = frame.loc[rows, "prediction"] == frame.loc[rows, "label"]
    frame.loc[rows, "prediction"] = np.where(right, 1 - frame.loc[rows, "label"], frame.loc[rows, "label"])
    return replace(run, outcomes=Outcomes(frame))


@pytest.fixture
def base(make_run: Callable[..., Run]) -> Run:
    """Classes 0 (index 0-99: the first 80 robust) and 1 (index 100-199: the first 60 robust)."""
    return make_run("base", FULL, 100)


def test_a_run_is_never_worse_than_itself(base: Run) -> None:
    result = regression(base, base)
    assert result.passed
    assert [(check.attack, check.scope) for check in result.checks] == [
        ("natural", "average"), ("natural", "airplane"), ("pgd20", "average"), ("pgd20", "automobile"),
    ]  # fmt: skip
    assert {check.p for check in result.checks} == {1.0}


def test_a_large_and_significant_drop_fails(base: Run) -> None:
    """5 automobiles lost, none gained: 2.5 points on average, p = 2**-5 = .03125; 5 points in the worst class."""
    result = regression(_flipped(base, "pgd20", [100, 101, 102, 103, 104]), base)
    assert not result.passed
    assert [(check.scope, check.failed, check.p) for check in result.checks if check.attack == "pgd20"] == [
        ("average", True, 0.03125),
        ("automobile", True, 0.03125),
    ]
    assert result.sentence == (
        "Regression: 2 of 4 checks failed; the largest drop is 5.00 points under pgd20 "
        "(class 'automobile': 5 of 100 images lost, 0 gained, p = 0.031)."
    )


def test_a_large_drop_that_may_be_chance_passes(base: Run) -> None:
    """4 lost, none gained: 2 points on average, 4 in the worst class, but p = 2**-4 = .0625."""
    result = regression(_flipped(base, "pgd20", [100, 101, 102, 103]), base)
    assert result.passed
    assert [check.p for check in result.checks if check.attack == "pgd20"] == [0.0625, 0.0625]


def test_a_significant_drop_within_the_limit_passes(base: Run) -> None:
    """10 lost, none gained, all of class 0: p < .001, 5 points on average, 10 in class 0, 0 in the worst class."""
    worse = _flipped(base, "pgd20", list(range(10)))
    assert regression(worse, base, max_drop=5, max_worst_drop=0).passed, "5.00 does not exceed 5"
    assert not regression(worse, base, max_drop=4.99, max_worst_drop=0).passed


def test_limits_are_compared_as_exact_fractions(make_run: Callable[..., Run]) -> None:
    """7 of 1000 is 0.7 points; 0.7 as a binary float is smaller than 7/10, and 100 * (7 / 1000) larger."""
    base = make_run("base", {"natural": [500, 500], "pgd20": [500, 400]}, 500)
    worse = _flipped(base, "pgd20", list(range(7)))
    assert regression(worse, base, max_drop=0.7).passed
    assert not regression(worse, base, max_drop=0.69).passed


def test_the_worst_class_of_either_run_counts(base: Run) -> None:
    """Class 0 falls from 80 to 50 and is the run's worst; class 1, the baseline's, keeps its 60."""
    worse = _flipped(base, "pgd20", list(range(30)))
    checks = [check for check in regression(worse, base, max_drop=100).checks if check.attack == "pgd20"]
    assert [(check.scope, check.failed) for check in checks] == [
        ("average", False), ("airplane", True), ("automobile", False),
    ]  # fmt: skip


def test_p_is_the_exact_one_sided_mcnemar_test(base: Run) -> None:
    """20 lost (indices 0-19) and 8 gained (80-87) in class 0."""
    changed = _flipped(base, "pgd20", [*range(20), *range(80, 88)])
    check = next(c for c in regression(changed, base).checks if c.attack == "pgd20")
    assert (check.lost, check.gained) == (20, 8)
    assert check.p == pytest.approx(binomtest(20, 28, alternative="greater").pvalue, rel=1e-12)


def test_a_gain_is_no_regression_but_a_drift(base: Run) -> None:
    better = _flipped(base, "pgd20", [80, 81, 82])
    assert regression(better, base).passed
    result = same(better, base)
    assert not result.passed
    assert result.sentence == (
        "The evaluation drifted: 3 of 200 verdicts of pgd20 flipped "
        "(0 robust only in the baseline, 3 only in the run), more than 0.5 %."
    )


def test_two_checkpoints_are_told_from_two_evaluations(base: Run) -> None:
    other = replace(base, record={**base.record, "model": {**base.record["model"], "sha256": "0" * 64}})
    result = same(other, base)
    assert result.passed
    assert result.sentence.endswith("two different files, so that the model may have changed, not the evaluation.")
    assert "two different files" not in same(base, base).sentence
    edited = replace(base, record={**base.record, "model": {**base.record["model"], "source_sha256": "0" * 64}})
    assert "The code behind --model differs" in same(edited, base).sentence


def test_flags_that_the_baseline_has_not_are_told(base: Run) -> None:
    masked = replace(base, record={**base.record, "flags": [{"name": "zero-gradients", "evidence": "47 of 49 images"}]})
    told = new_flags(masked, base)
    assert told is not None
    assert told.startswith("Flagged, and the baseline was not: zero-gradients (47 of 49 images).")
    assert new_flags(masked, masked) is None
    assert new_flags(base, masked) is None


def test_flips_in_both_directions_add_up(base: Run) -> None:
    """One lost and one gained leave the accuracy as it was; 2 of 200 verdicts are 1 %."""
    moved = _flipped(base, "pgd20", [0, 80])
    assert moved.outcomes.robust("pgd20").sum() == base.outcomes.robust("pgd20").sum()
    assert not same(moved, base).passed
    assert same(moved, base, max_flips=0.01).passed, "at most 0.01"
    assert not same(moved, base, max_flips=0.0099).passed


def test_one_flip_of_two_hundred_is_exactly_the_default_limit(base: Run) -> None:
    assert same(_flipped(base, "natural", [0]), base).passed
    assert not same(_flipped(base, "natural", [0, 1]), base).passed, "natural verdicts count too"


def test_of_few_verdicts_the_default_allows_none_and_says_so(make_run: Callable[..., Run]) -> None:
    """0.5 % of 20 is a tenth of a verdict; of 400 it is two."""
    few, many = (make_run(f"r{n}", {"natural": [n, n], "pgd20": [n // 2] * 2}, n) for n in (10, 200))
    assert same(few, few).sentence.endswith("at most 0.5 % of any attack's (of 20 that is none).")
    assert same(many, many).sentence.endswith("at most 0.5 % of any attack's.")
    assert same(few, few, max_flips=0).sentence.endswith("at most 0 % of any attack's.")
    assert {check.limit for check in same(few, few).checks} == {"0.5 % (0 of 20)"}
    assert {check.limit for check in same(many, many).checks} == {"0.5 % (2 of 400)"}
    assert not same(_flipped(few, "pgd20", [0]), few).passed


def test_a_drift_of_one_attack_is_not_diluted_by_others(make_run: Callable[..., Run]) -> None:
    hits = {"natural": [100, 100], **{f"pgd{k}": [50, 50] for k in range(1, 11)}}
    base = make_run("base", hits, 100)
    result = same(_flipped(base, "pgd7", [0, 1]), base)
    assert [check.attack for check in result.checks if check.failed] == ["pgd7"]


def test_parts_of_a_cascade_drift_but_do_not_regress(make_run: Callable[..., Run]) -> None:
    base = make_run("base", {"natural": [100, 100], "aa": [40, 40], "aa/apgd-ce": [50, 50]}, 100)
    changed = _flipped(base, "aa/apgd-ce", list(range(30)))
    assert regression(changed, base).passed
    assert [check.attack for check in same(changed, base).checks if check.failed] == ["aa/apgd-ce"]


@pytest.mark.parametrize(
    ("difference", "words"),
    [
        ({"selection": "first 100 of each class"}, "differ in the samples"),
        ({"threat": {"norm": "Linf", "eps": 4 / 255, "eps_text": "4/255"}}, r"differ in eps \(4/255 against 8/255\)"),
        ({"threat": {"norm": "L2", "eps": 8 / 255, "eps_text": "8/255"}}, "differ in the norm"),
        ({"attacks": {"pgd20": {"steps": 2}}}, "stands for different keywords"),
        ({"protocol": 2}, "differ in the protocol version"),
    ],
)
def test_other_samples_threat_attacks_or_protocol_are_not_comparable(
    make_run: Callable[..., Run], base: Run, difference: dict[str, Any], words: str
) -> None:
    other = make_run("other", FULL, 100, **difference)
    for check in (regression, same):
        with pytest.raises(NotComparable, match=words):
            check(other, base)


@pytest.mark.parametrize(
    "difference", [{"block_size": 7}, {"threads": 2}, {"device": "cuda"}, {"processes": 4}, {"model": "another"}]
)
def test_block_size_threads_and_device_are_comparable(
    make_run: Callable[..., Run], base: Run, difference: dict[str, Any]
) -> None:
    assert same(make_run("other", FULL, 100, **difference), base).passed


def test_a_table_that_contradicts_its_record_is_not_comparable(base: Run) -> None:
    frame = base.outcomes.frame
    fewer = replace(base, outcomes=Outcomes(frame[(frame["attack"] != "pgd20") | (frame["index"] > 0)]))
    with pytest.raises(NotComparable, match="saw different samples or labels"):
        same(fewer, base)


def test_runs_without_a_common_attack_are_not_comparable(make_run: Callable[..., Run], base: Run) -> None:
    with pytest.raises(NotComparable, match="no attack in common"):
        same(make_run("other", {"natural": [100, 100], "fgsm": [80, 80]}, 100), base)


def test_what_only_one_run_has_is_told(make_run: Callable[..., Run], base: Run) -> None:
    result = same(make_run("other", {**FULL, "aa": [50, 50]}, 100), base)
    assert result.passed
    assert result.not_compared == ("aa",)


@pytest.mark.parametrize(("keyword", "value"), [("max_drop", -1), ("max_worst_drop", 101)])
def test_limits_outside_their_range_are_refused(base: Run, keyword: str, value: float) -> None:
    with pytest.raises(BadInput, match="percentage points"):
        regression(base, base, **{keyword: value})
    with pytest.raises(BadInput, match="must lie in"):
        same(base, base, max_flips=1.5)


def test_the_table_says_what_was_compared(base: Run) -> None:
    table = gate_table(regression(_flipped(base, "pgd20", [100, 101, 102, 103, 104]), base))
    assert [[cell.text for cell in row] for row in table.rows if row[0].text == "pgd20"] == [
        ["pgd20", "all classes", "200", "70.00", "67.50", "2.50", "5", "0", "1", "0.031", "FAIL"],
        ["pgd20", "automobile", "100", "60.00", "55.00", "5.00", "5", "0", "3", "0.031", "FAIL"],
    ]
