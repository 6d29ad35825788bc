"""`fairbench quickstart` with one epoch, one student and one evaluation: its story, and its second call."""

from __future__ import annotations

from pathlib import Path

import pytest

from fairbench.cli import quickstart, run


def test_the_story_trains_every_student_and_evaluates_it_twice(tmp_path: Path) -> None:
    todo, runs = quickstart.steps(tmp_path, 3)
    commands = [step.arguments[0] for step in todo]
    assert commands == ["train"] * 6 + ["eval"] * 10 + ["report"]
    assert len(runs) == 10
    assert [p.name for p in runs] == [
        name + suffix for suffix in ("", "-aa") for name in ("natural", "sat", "trades", "rslad", "absld")
    ]
    assert all(step.arguments[step.arguments.index("--seed") + 1] == "3" for step in todo[:-1])


def test_a_second_call_reuses_what_is_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(quickstart, "TEACHER", ("teacher", ["--method", "natural", "--epochs", "1"]))
    monkeypatch.setattr(quickstart, "STUDENTS", [("rslad", ["--method", "rslad", "--epochs", "1"])])
    few = ["--attacks", "fgsm", "--samples-per-class", "3", "--accept", "low-accuracy", "--threads", "1"]
    monkeypatch.setattr(quickstart, "EVALUATIONS", [("", few)])
    assert run(["quickstart", "--out", str(tmp_path / "q")]) == 0
    printed = capsys.readouterr()
    assert printed.out.strip().splitlines()[-1] == str(tmp_path / "q" / "report.html")
    assert "[1/4]" in printed.err
    made = {p: p.stat().st_mtime_ns for p in (tmp_path / "q").rglob("*") if p.suffix in (".pt", ".parquet")}
    assert len(made) == 3
    assert run(["quickstart", "--out", str(tmp_path / "q")]) == 0
    assert {p: p.stat().st_mtime_ns for p in made} == made
