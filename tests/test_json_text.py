"""The text of JSON files: arrays of whole numbers are written without lists of Python's, and read the same."""

from __future__ import annotations

import json

import hypothesis.extra.numpy as arrays
import numpy as np
import numpy.typing as npt
from hypothesis import given
from hypothesis import strategies as st

from fairbench.json_text import to_json

CELLS = st.one_of(st.just(0), st.integers(-3, 12), st.integers(-(2**60), 2**60))


@given(arrays.arrays(np.int64, st.tuples(st.integers(0, 6), st.integers(0, 6)), elements=CELLS))
def test_a_table_of_counts_is_written_as_its_lists_are(table: npt.NDArray[np.int64]) -> None:
    value = {"a": 1, "confusion": table, "list": [table]}
    text = to_json(value)
    assert text == to_json({"a": 1, "confusion": table.tolist(), "list": [table.tolist()]})
    assert json.loads(text) == {"a": 1, "confusion": table.tolist(), "list": [table.tolist()]}


def test_a_row_of_the_table_is_a_row_of_the_file() -> None:
    assert to_json({"c": np.array([[0, 12, 0], [0, 0, 0], [3, 0, -1]])}) == (
        '{\n "c": [\n  [0, 12, 0],\n  [0, 0, 0],\n  [3, 0, -1]\n ]\n}\n'
    )


def test_undefined_is_null_in_arrays_of_floats_and_numbers_of_numpy_are_numbers() -> None:
    given = {"f": np.array([[1.5, np.nan], [np.inf, 2.0]]), "n": np.float32(0.5), "b": np.bool_(True), "t": (1, None)}
    assert json.loads(to_json(given)) == {"f": [[1.5, None], [None, 2.0]], "n": 0.5, "b": True, "t": [1, None]}
