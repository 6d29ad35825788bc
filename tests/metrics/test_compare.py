from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fairbench.errors import BadInput, NotComparable
from fairbench.metrics.compare import compare_runs
from fairbench.metrics.paired import mcnemar
from fairbench.outcomes import Outcomes
from fairbench.runs import Run

NAMES = ["cat", "dog", "ship"]
PER_CLASS = 100
LABELS = np.repeat(np.arange(3), PER_CLASS)


def _run(robust: dict[str, list[int]], name: str = "run", **changes: Any) -> Run:
    """The first so many samples of each class are robust under each attack."""
    place = np.arange(LABELS.size) % PER_CLASS
    tables = []
    for attack, per_class in robust.items():
        prediction = np.where(place < np.array(per_class)[LABELS], LABELS, (LABELS + 1) % 3)
        tables.append(Outcomes.of_columns(attack, index=np.arange(LABELS.size), label=LABELS, prediction=prediction))
    record = {
        "protocol": 1,
        "dataset": {"num_classes": 3, "class_names": NAMES, "index_sha256": "i", "sha256": "s"},
        "threat": {"norm": "Linf", "eps": 0.1, "eps_text": "0.1"},
        "attacks": {attack: {"steps": 20} for attack in robust},
        **changes,
    }
    return Run(name, record, Outcomes.concat(tables))


def test_counts_tests_and_changes_of_one_attack() -> None:
    """Cat gains 30, dog loses 6, ship stays: McNemar 2 * .5^30, 2 * .5^6 = .03125 and 1; Holm times 3, 2 and 1, so that
    dog is not called changed.
    """
    found = compare_runs(_run({"pgd20": [20, 60, 80]}), _run({"pgd20": [50, 54, 80]})).attacks[0]
    assert (found.pairs.lost.tolist(), found.pairs.gained.tolist()) == ([0, 6, 0], [30, 0, 0])
    np.testing.assert_allclose(found.p, [mcnemar(0, 30), 0.03125, 1.0])
    np.testing.assert_allclose(found.p_holm, [3 * mcnemar(0, 30), 0.0625, 1.0])
    assert found.changed == ([0], [])
    assert found.average.value == pytest.approx(24 / 300)
    assert found.worst_class.value == pytest.approx(0.3)
    assert found.std.value == pytest.approx(np.std([0.5, 0.54, 0.8]) - np.std([0.2, 0.6, 0.8]))


def test_the_sentence_says_what_is_decided_and_what_is_not() -> None:
    sentence = compare_runs(_run({"pgd20": [20, 60, 80]}), _run({"pgd20": [50, 56, 80]})).sentence
    assert sentence.startswith("Under pgd20, on the same 300 images, B against A")
    assert "the average is 8.7 points higher (" in sentence
    assert "the worst class is 30.0 points higher (" in sentence
    assert "more robust in “cat”;" in sentence
    assert "less robust" not in sentence
    assert sentence.endswith("this is about two checkpoints; only several seeds can tell about their methods.")
    assert sentence.count(".") - sentence.count(".0") < 12
    turned = compare_runs(_run({"pgd20": [50, 56, 80]}), _run({"pgd20": [20, 60, 80]})).sentence
    assert "the worst class is 30.0 points lower (" in turned
    assert "less robust in “cat”;" in turned


def test_a_small_change_is_called_undecided() -> None:
    sentence = compare_runs(_run({"pgd20": [20, 60, 80]}), _run({"pgd20": [21, 59, 81]})).sentence
    assert "nothing can be said for sure; not decided: the average (" in sentence
    assert "any single class" in sentence


def test_runs_without_a_difference_are_not_called_equal() -> None:
    sentence = compare_runs(_run({"pgd20": [20, 60, 80]}), _run({"pgd20": [20, 60, 80]})).sentence
    assert "not one verdict differs" in sentence
    assert "no proof" in sentence


def test_the_headline_is_the_strongest_common_attack_and_parts_stay_out() -> None:
    shared = {"natural": [99, 99, 99], "fgsm": [40, 60, 80]}
    before = _run({**shared, "aa": [20, 60, 80], "aa/apgd-ce": [30, 60, 80], "pgd20": [40, 60, 80]})
    after = _run({**shared, "aa": [20, 61, 80], "aa/apgd-ce": [1, 1, 1], "cw30": [20, 60, 80]})
    found = compare_runs(before, after)
    assert [attack.attack for attack in found.attacks] == ["natural", "aa", "fgsm"]
    assert found.headline.attack == "aa"


def test_natural_runs_are_compared_as_such() -> None:
    found = compare_runs(_run({"natural": [90, 90, 90]}), _run({"natural": [90, 91, 90]}))
    assert found.sentence.startswith("Without an attack, on the same 300 images")


def test_an_absent_class_has_no_test() -> None:
    keep = LABELS != 1
    runs = []
    for per_class in ([20, 0, 80], [50, 0, 80]):
        run = _run({"pgd20": per_class})
        table = Outcomes(run.outcomes.frame[keep])
        runs.append(Run(run.name, run.record, table))
    found = compare_runs(*runs).headline
    assert np.isnan(found.p[1])
    assert np.isnan(found.p_holm[1])
    assert found.p_holm[0] == pytest.approx(2 * found.p[0])


@pytest.mark.parametrize(
    "changes",
    [
        {"protocol": 2},
        {"threat": {"norm": "Linf", "eps": 0.2}},
        {"threat": {"norm": "L2", "eps": 0.1}},
        {"attacks": {"pgd20": {"steps": 2}}},
        {"dataset": {"num_classes": 3, "class_names": NAMES, "index_sha256": "other", "sha256": "s"}},
        {"dataset": {"num_classes": 3, "class_names": NAMES, "index_sha256": "i", "sha256": "other"}},
    ],
)
def test_other_questions_are_not_comparable(changes: dict[str, Any]) -> None:
    with pytest.raises(NotComparable, match="not comparable"):
        compare_runs(_run({"pgd20": [20, 60, 80]}), _run({"pgd20": [20, 60, 80]}, **changes))


def test_no_common_attack_is_not_comparable() -> None:
    with pytest.raises(NotComparable, match="no attack in common"):
        compare_runs(_run({"pgd20": [20, 60, 80]}), _run({"cw30": [20, 60, 80]}))


def test_other_labels_are_not_comparable() -> None:
    run = _run({"pgd20": [20, 60, 80]})
    frame = run.outcomes.frame.copy()
    frame["label"] = frame["label"].to_numpy()[::-1]
    with pytest.raises(NotComparable, match="different samples or labels"):
        compare_runs(run, Run("other", run.record, Outcomes(frame)))


def test_a_record_without_class_names_is_refused() -> None:
    run = _run({"pgd20": [20, 60, 80]}, dataset={"num_classes": 3})
    with pytest.raises(BadInput, match="names no classes"):
        compare_runs(run, run)
