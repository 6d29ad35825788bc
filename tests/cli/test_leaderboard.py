from __future__ import annotations

import json
from pathlib import Path

import pytest

from fairbench.cli import run
from fairbench.outcomes import Outcomes
from fairbench.runs import write_run


def write(folder: Path, robust: int) -> Path:
    """Two classes of 10 images; of each, the first so many are robust."""
    label = [0] * 10 + [1] * 10
    prediction = [c if place < robust else 1 - c for c in (0, 1) for place in range(10)]
    record = {
        "schema": 1,
        "dataset": {"name": "toy", "split": "test", "num_classes": 2, "class_names": ["cat", "dog"]},
        "model": {"name": folder.name},
        "threat": {"norm": "Linf", "eps": 0.1},
    }
    write_run(folder, record, Outcomes.of_columns("natural", index=range(20), label=label, prediction=prediction))
    return folder


def test_it_ranks_and_prints_both_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folders = [write(tmp_path / "worse", 3), write(tmp_path / "better", 7)]
    assert run(["leaderboard", *map(str, folders), "--out", str(tmp_path / "board")]) == 0
    board = tmp_path / "board"
    assert capsys.readouterr().out.splitlines() == [str(board / "leaderboard.md"), str(board / "leaderboard.json")]
    entries = json.loads((board / "leaderboard.json").read_text())["sets"][0]["entries"]
    assert [entry["model"]["name"] for entry in entries] == ["better", "worse"]


def test_bad_input_is_two(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write(tmp_path / "run", 3)
    for arguments, words in (
        ([str(folder)], "--out"),
        ([str(folder), "--out", " "], "--out must name a folder"),
        ([str(tmp_path), "--out", str(tmp_path / "board")], "holds no finished run"),
        ([str(folder), "--out", str(folder / "run.json")], "cannot be used"),
    ):
        assert run(["leaderboard", *arguments]) == 2
        said = capsys.readouterr()
        assert said.out == ""
        assert words in said.err
