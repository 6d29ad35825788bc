from __future__ import annotations

import json
import re
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
    (tmp_path / "digits.pt").write_bytes(b"weights")
    with pytest.raises(BadInput, match=r"digits\.pt' is a file; give the folder"):
        read_run(tmp_path / "digits.pt")
    with pytest.raises(BadInput, match="holds no finished run"):
        read_run(tmp_path)


def test_a_newer_schema_is_refused_by_name(tmp_path: Path) -> None:
    write_run(
        tmp_path, {**_record(), "schema": 99}, Outcomes.of_columns("natural", index=[0], label=[0], prediction=[1])
    )
    with pytest.raises(BadInput, match="schema 99"):
        read_run(tmp_path)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"dataset": "digits"}, "dataset must be an object, and not 'digits'"),
        ({"dataset": {"class_names": 3}}, "dataset.class_names must be a list of texts, and not '3'"),
        ({"dataset": {"class_names": ["a", 1]}}, "dataset.class_names must be a list of texts"),
        ({"dataset": {"num_classes": "ten"}}, "dataset.num_classes must be a whole number, and not 'ten'"),
        ({"dataset": {"num_classes": True}}, "dataset.num_classes must be a whole number, and not 'True'"),
        ({"dataset": {"num_classes": 10, "class_names": ["a"]}}, "names 1 classes for num_classes 10"),
        ({"attacks": ["pgd20"]}, "attacks must be an object"),
        ({"attacks": None}, "attacks must be an object, and not 'None'"),
        ({"dataset": None}, "dataset must be an object, and not 'None'"),
        ({"threat": None}, "threat must be an object, and not 'None'"),
        ({"model": "net"}, "model must be an object"),
        ({"threat": {"eps": "0.1"}}, "threat.eps must be a number"),
        ({"settings": []}, "settings must be an object"),
    ],
)
def test_a_record_with_parts_of_another_kind_is_one_sentence(
    tmp_path: Path, change: dict[str, object], words: str
) -> None:
    outcomes = Outcomes.of_columns("natural", index=[0], label=[0], prediction=[1])
    write_run(tmp_path, {**_record(), **change}, outcomes)
    with pytest.raises(BadInput, match=re.escape(words)) as caught:
        read_run(tmp_path)
    assert str(tmp_path / "run.json") in str(caught.value)


def test_what_an_older_record_lacks_is_not_refused_here(tmp_path: Path) -> None:
    write_run(tmp_path, {"schema": 1}, Outcomes.of_columns("natural", index=[0], label=[0], prediction=[1]))
    assert read_run(tmp_path).record == {"schema": 1}
