"""The JSON that a run folder holds: numbers as numbers, undefined as null, a list of plain values on one line.

Arrays of whole numbers are written as they are, without becoming lists of Python's: a confusion matrix of 1,000 classes
has a million cells of which hardly any is not 0, and a report writes dozens of them.

Shape key: R rows, K columns.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt


def to_json(value: object) -> str:
    """Return `value` as indented JSON in its own order of keys.

    A list of plain values stays on one line: a row of a confusion matrix is a row of the file.
    """
    return _indented(undefined_to_null(value), "") + "\n"


def undefined_to_null(value: Any) -> Any:
    """Return `value` with None for NaN and infinity, and plain values for NumPy's; arrays of whole numbers stay."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, (str, int)) or value is None:
        return value
    if isinstance(value, Mapping):
        return {str(key): undefined_to_null(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [undefined_to_null(item) for item in value]
    if _is_table(value):
        return value
    if hasattr(value, "tolist"):  # NumPy scalars and arrays
        return undefined_to_null(value.tolist())
    return value


def _is_table(value: object) -> bool:
    return isinstance(value, np.ndarray) and value.ndim == 2 and value.size > 0 and value.dtype.kind in "iu"


def _indented(value: Any, pad: str) -> str:
    deeper = pad + " "
    if isinstance(value, dict) and value:
        rows = [
            f"{deeper}{json.dumps(key, ensure_ascii=False)}: {_indented(item, deeper)}" for key, item in value.items()
        ]
        return "{\n" + ",\n".join(rows) + f"\n{pad}}}"
    if isinstance(value, np.ndarray):
        return "[\n" + ",\n".join(f"{deeper}[{row}]" for row in _rows(value)) + f"\n{pad}]"
    if isinstance(value, list) and any(isinstance(item, (dict, list, np.ndarray)) for item in value):
        return "[\n" + ",\n".join(deeper + _indented(item, deeper) for item in value) + f"\n{pad}]"
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def _rows(table: npt.NDArray[Any]) -> list[str]:
    """Return the text of each row of an (R, K) table: the runs of zeros are cut from one text, the rest is written."""
    width = table.shape[1]
    zeros = "0, " * width
    found = [[""] for _ in range(len(table))]
    ends = [0] * len(table)
    rows, columns = np.nonzero(table)
    for row, column, value in zip(rows.tolist(), columns.tolist(), table[rows, columns].tolist(), strict=True):
        found[row].append(f"{zeros[: 3 * (column - ends[row])]}{value}, ")
        ends[row] = column + 1
    return [("".join(parts) + zeros[: 3 * (width - end)])[:-2] for parts, end in zip(found, ends, strict=True)]
