"""The removal experiment by hand: five cats of which three went to the dog, that is gone."""

from __future__ import annotations

import numpy as np
import pytest

from fairbench.errors import BadInput, NotComparable
from fairbench.metrics.removal import removal
from fairbench.outcomes import Outcomes
from fairbench.reporting.tables_removal import removal_sentence, removal_table
from fairbench.runs import Run

NAMES = ("bird", "cat", "dog", "ship")
LABEL = np.array([1, 1, 1, 1, 1, 0, 0, 2, 3])
BEFORE = [1, 1, 1, 1, 2, 0, 0, 2, 3]  # cat 4 is a dog to the network without any attack
AFTER = [2, 2, 2, 0, 2, 2, 3, 1, 3]


def run_of(name, after, *, before=LABEL, gone=(), threat="0.1", **dataset) -> Run:
    keep = ~np.isin(LABEL, gone)
    tables = [
        Outcomes.of_columns(
            attack, index=np.flatnonzero(keep), label=LABEL[keep], prediction=np.asarray(predicted)[keep]
        )
        for attack, predicted in (("natural", before), ("pgd20", after))
    ]
    data = {"name": "toy", "split": "test", "class_names": list(NAMES), "num_classes": 4, **dataset}
    if gone:
        data["kept_classes"] = [c for c in range(4) if c not in gone]
    record = {
        "dataset": data, "threat": {"norm": "Linf", "eps": threat}, "protocol": 1, "attacks": {"pgd20": {"steps": 20}},
    }  # fmt: skip
    return Run(name, record, Outcomes.concat(tables))


FULL = run_of("full", AFTER, before=BEFORE)
WITHOUT = run_of("without", [1, 1, 0, 1, 1, 0, 3, 0, 3], gone=(2,))


def test_by_hand():
    """Cats 0, 1, 2 and bird 5 went to the dog: cat 2 is still broken. Cat 3 and bird 6 went elsewhere: bird 6 is."""
    found = removal(FULL, WITHOUT)
    assert (found.attack, found.removed, found.left_out) == ("pgd20", (2,), ())
    told = [
        (row.label, row.went.count, row.went.broken, row.elsewhere.count, row.elsewhere.broken) for row in found.rows
    ]
    assert told == [(0, 1, 0, 1, 1), (1, 3, 1, 1, 0), (None, 4, 1, 2, 1)]
    assert found.rows[-1].went.share == 0.25
    assert found.rows[-1].control is None
    assert np.isnan(found.p)
    assert "without a control" in removal_sentence(found, NAMES)


def meant_for(run: Run, *classes: str) -> Run:
    return Run(run.name, {**run.record, "model": {"control_of": list(classes)}}, run.outcomes)


def test_runs_in_each_others_place_are_refused():
    control = meant_for(run_of("control", AFTER, gone=(3,)), "dog")
    with pytest.raises(BadInput, match="'control' is a control of the removal of dog; give it with --control"):
        removal(FULL, control, WITHOUT)
    with pytest.raises(NotComparable, match="control of the removal of cat, but removed are dog"):
        removal(FULL, WITHOUT, meant_for(control, "cat"))


def test_the_table_names_the_runs():
    (_, note) = removal_table(removal(FULL, WITHOUT), NAMES).notes
    assert note == "The network trained without is the run “without”."
    control = run_of("other", AFTER, gone=(3,))
    assert "run “without”, the control “other”." in removal_table(removal(FULL, WITHOUT, control), NAMES).notes[1]


def test_a_control_by_hand():
    """Without the ship all four are broken: 3 of them only there, exact McNemar 2 / 8."""
    control = run_of("control", [0, 0, 0, 1, 1, 1, 0, 2, 0], gone=(3,))
    found = removal(FULL, WITHOUT, control)
    assert (found.rows[-1].control.count, found.rows[-1].control.broken) == (4, 4)
    assert found.p == pytest.approx(0.25)
    assert "cannot be told apart" in removal_sentence(found, NAMES)
    table = removal_table(found, NAMES)
    assert [cell.text for cell in table.rows[-1]] == ["all", "4", "25.0", "100.0", "2", "50.0"]


def test_classes_that_the_control_lacks_are_not_counted():
    found = removal(FULL, WITHOUT, run_of("control", [0] * 9, gone=(0,)))
    assert found.left_out == (0,)
    assert [row.label for row in found.rows] == [1, None]
    assert found.rows[-1].went.count == 3


def test_nothing_to_follow():
    found = removal(run_of("full", LABEL), WITHOUT)
    assert found.rows[-1].went.count == 0
    assert "nothing to follow" in removal_sentence(found, NAMES)


@pytest.mark.parametrize(
    ("without", "control", "error", "words"),
    [
        (FULL, None, BadInput, "leaves out no class"),
        (run_of("w", AFTER, gone=(2,), threat="0.2"), None, NotComparable, "eps"),
        (run_of("w", AFTER, gone=(2,), split="train"), None, NotComparable, "the data set"),
        (WITHOUT, run_of("c", AFTER, gone=(2, 3)), NotComparable, "leaves out dog"),
    ],
)
def test_what_cannot_be_compared(without, control, error, words):
    with pytest.raises(error, match=words):
        removal(FULL, without, control)


def test_missing_samples_are_refused():
    few = Run("few", WITHOUT.record, Outcomes(WITHOUT.outcomes.frame[WITHOUT.outcomes.frame["index"] > 0]))
    with pytest.raises(NotComparable, match="must hold the samples"):
        removal(FULL, few)
