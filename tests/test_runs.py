from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from fairbench.errors import BadInput
from fairbench.outcomes import Outcomes
from fairbench.runs import read_json, read_run, to_json, write_run


def _record() -> dict[str, object]:
    return {"schema": 1, "dataset": {"name": "digits", "num_classes": 2, "class_names": ["zero", "<b>"]}}


def test_a_run_survives_the_disk(tmp_path: Path) -> None:
    outcomes = Outcomes.of_columns("natural", index=[0], label=[0], prediction=[1])
    write_run(tmp_path / "run", _record(), outcomes)
    run = read_run(tmp_path / "run")
    assert (run.name, run.num_classes, run.class_names) == ("run", 2, ("zero", "<b>"))
    assert len(run.outcomes) == 1


def test_undefined_is_null_and_never_nan() -> None:
    text = to_json({"a": np.float64("nan"), "b": [np.inf, 1.5], "c": np.arange(2), "d": {"e": np.int64(3)}})
    assert json.loads(text) == {"a": None, "b": [None, 1.5], "c": [0, 1], "d": {"e": 3}}
    assert "NaN" not in text
    assert "Infinity" not in text


@pytest.mark.parametrize(
    ("content", "message"),
    [("{", "not readable JSON"), ("[1]", "must hold a JSON object"), ("[" * 100_000, "not readable JSON")],
)
def test_edited_json_is_one_sentence(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "x.json").write_text(content)
    with pytest.raises(BadInput, match=message):
        read_json(tmp_path / "x.json", what="the file")


def test_folders_without_a_run_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="does not exist"):
        read_run(tmp_path / "none")
    with pytest.raises(BadInput, match="holds no finished run"):
        read_run(tmp_path)


def test_a_newer_schema_is_refused_by_name(tmp_path: Path) -> None:
    write_run(
        tmp_path, {**_record(), "schema": 99}, Outcomes.of_columns("natural", index=[0], label=[0], prediction=[1])
    )
    with pytest.raises(BadInput, match="schema 99"):
        read_run(tmp_path)
