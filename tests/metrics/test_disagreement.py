"""Rows in which two tables differ, and what counts as rounding."""

from __future__ import annotations

import numpy as np
import pytest

from fairbench.metrics.disagreement import Difference, differences
from fairbench.outcomes import Outcomes


def table(attack="pgd5", **columns):
    values = {"index": [2, 4, 6], "label": [0, 1, 2], "prediction": [0, 1, 0], "loss": [0.5, 0.25, 2.0],
              "margin": [1.0, 2.0, -1.0], "linf": [0.1, 0.1, np.nan], "distance": [0.1, 0.1, np.nan]}  # fmt: skip
    return Outcomes.of_columns(attack, **(values | columns))


def test_equal_tables_have_no_differences_and_order_does_not_matter():
    assert differences(table(), table()) == ()
    assert differences(table(), Outcomes(table().frame.iloc[::-1])) == ()


def test_a_verdict_that_flips_and_a_prediction_that_moves():
    found = differences(table(), table(prediction=[1, 1, 1]))
    assert found == (Difference("pgd5", 2, 0, "prediction", 0, 1), Difference("pgd5", 6, 2, "prediction", 0, 1))
    assert [one.flipped for one in found] == [True, False]


@pytest.mark.parametrize(
    ("column", "values", "seen"),
    [
        ("linf", [0.1 + 5e-6, 0.1, np.nan], []),
        ("linf", [0.1 + 5e-5, 0.1, np.nan], [2]),
        ("linf", [0.1, 0.1, 0.1], [6]),
        ("linf", [0.1, np.nan, np.nan], [4]),
        ("margin", [1.0, 2.002, -1.0], []),
        ("margin", [1.0, 2.01, -1.0], [4]),
        ("loss", [0.5, 0.25, np.inf], [6]),
    ],
)
def test_floats_may_round_and_null_is_null(column, values, seen):
    found = differences(table(), table(**{column: values}))
    assert [(one.index, one.column) for one in found] == [(index, column) for index in seen]


def test_rows_in_one_table_only():
    short = Outcomes(table().frame.iloc[:2])
    assert differences(table(), short) == (Difference("pgd5", 6, 2, "row", 0, None),)
    assert differences(short, table()) == (Difference("pgd5", 6, 2, "row", None, 0),)
    other = differences(table(), table(attack="cw5"))
    assert [(one.attack, one.index) for one in other] == [("cw5", 2), ("cw5", 4), ("cw5", 6)] + [
        ("pgd5", index) for index in (2, 4, 6)
    ]
