"""When counts raise a flag: hand-worked p-values, for the model and for classes alone."""

from __future__ import annotations

import numpy as np
import pytest

from fairbench.evaluation.masking.decide import LEVEL, more_than, paired_flags, share_flags
from fairbench.evaluation.masking.registry import FLAGS, flag

SENTENCE = "{hits} of {total}"


def hits(labels, of_class):
    """Mark the first so many images of each class."""
    marked = np.zeros(len(labels), dtype=bool)
    for label, count in of_class.items():
        marked[np.flatnonzero(labels == label)[:count]] = True
    return marked


def names_and_classes(flags):
    return [(one["name"], one["class"], one["evidence"]) for one in flags]


LABELS = np.repeat(np.arange(10), 20)


def test_the_p_value_is_the_binomial_tail():
    # 1 - .99^2 - 2 * .01 * .99 = .0001
    assert more_than(2, 2, 0.01) == pytest.approx(1e-4)
    assert more_than(0, 200, 0.01) == 1


def test_hits_spread_over_classes_flag_the_model_only():
    found = share_flags(
        "zero-gradients", hits(LABELS, dict.fromkeys(range(9), 1)), LABELS, share=0.01, evidence=SENTENCE
    )
    # P(X >= 9 | 200, .01) = .0002; P(X >= 8) = .001.
    assert names_and_classes(found) == [("zero-gradients", None, "9 of 200")]
    found = share_flags(
        "zero-gradients", hits(LABELS, dict.fromkeys(range(7), 1)), LABELS, share=0.01, evidence=SENTENCE
    )
    assert found == []


def test_a_class_that_shows_it_alone_is_named():
    found = share_flags("zero-gradients", hits(LABELS, {3: 5}), LABELS, share=0.01, evidence=SENTENCE)
    # P(X >= 5 | 200, .01) = .05 for the model; P(X >= 5 | 20, .01) = 1.4e-6 for the class.
    assert names_and_classes(found) == [("zero-gradients", 3, "5 of 20")]


def test_where_most_classes_show_it_the_model_says_so_for_them():
    found = share_flags("zero-gradients", np.ones(200, dtype=bool), LABELS, share=0.01, evidence=SENTENCE)
    assert names_and_classes(found) == [("zero-gradients", None, "200 of 200 (in 10 of 10 classes on its own)")]
    half = share_flags("zero-gradients", hits(LABELS, {1: 20, 2: 20}), LABELS, share=0.01, evidence=SENTENCE)
    assert [one["class"] for one in half] == [None, 1, 2]


def test_no_images_no_flag():
    none = np.zeros(0, dtype=bool)
    assert share_flags("zero-gradients", none, np.zeros(0, dtype=int), share=0.01, evidence=SENTENCE) == []


def test_pairs_need_more_surprises_than_expected_changes():
    labels = np.zeros(40, dtype=int)
    weak, strong = np.zeros(40, dtype=bool), np.zeros(40, dtype=bool)
    weak[:10] = True
    evidence = "{surprising} against {expected}"
    # 2^-10 = .00098
    found = paired_flags("fewer-steps-win", weak, strong, labels, evidence=evidence)
    assert names_and_classes(found)[0] == ("fewer-steps-win", None, "10 against 0")
    strong[10:20] = True
    assert paired_flags("fewer-steps-win", weak, strong, labels, evidence=evidence) == []
    weak[9] = strong[10:20] = False
    assert paired_flags("fewer-steps-win", weak, strong, labels, evidence=evidence) == [], "2^-9 = .002"


def test_an_honest_model_at_the_tolerance_is_rarely_flagged():
    generator = np.random.default_rng(0)
    raised = [
        bool(share_flags("zero-gradients", generator.random(200) < 0.01, LABELS, share=0.01, evidence=SENTENCE))
        for _ in range(2000)
    ]
    # Two tests, the model's and the classes', at the level each.
    assert np.mean(raised) < 2 * LEVEL + 3 * np.sqrt(2 * LEVEL / 2000)


@pytest.mark.parametrize("name", FLAGS)
def test_every_flag_says_what_to_do(name):
    entry = flag(name, "seen", 2)
    assert list(entry) == ["name", "severity", "class", "evidence", "advice"]
    assert len(entry["advice"]) > 30
    assert FLAGS[name].meaning
