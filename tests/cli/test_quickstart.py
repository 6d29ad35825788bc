"""`fairbench quickstart` with one epoch, one student and one evaluation: its story, its time, and its second call."""

from __future__ import annotations

from pathlib import Path

import pytest

from fairbench.cli import quickstart, run
from fairbench.cli.quickstart import Training


def test_the_story_trains_every_student_and_attacks_it(tmp_path: Path) -> None:
    todo, runs = quickstart.steps(tmp_path, 3)
    assert [step.arguments[0] for step in todo] == ["train"] * 6 + ["eval"] * 5 + ["report"]
    assert [run.name for run in runs] == ["natural", "sat", "trades", "rslad", "absld"]
    assert all(step.arguments[step.arguments.index("--seed") + 1] == "3" for step in todo[:-1])
    taught = [any(word.startswith("--teacher=") for word in step.arguments) for step in todo[:6]]
    assert taught == [False] * 4 + [True] * 2
    assert [step.after for step in todo[:6]] == [()] * 4 + [(todo[0].product,)] * 2
    assert todo[-1].after == tuple(step.product for step in todo if step.arguments[0] == "eval")
    assert quickstart.HEADLINE in quickstart.ATTACKS[1].split(",")


def test_a_second_call_reuses_what_is_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(quickstart, "TEACHER", Training("teacher", ["--method", "natural", "--epochs", "1"], 1))
    students = [
        Training(name, ["--method", name, "--epochs", "1"], 1, 1, name == "rslad") for name in ("natural", "rslad")
    ]
    monkeypatch.setattr(quickstart, "STUDENTS", students)
    few = ["--attacks", "fgsm", "--samples-per-class", "3", "--accept", "low-accuracy"]
    monkeypatch.setattr(quickstart, "ATTACKS", few)
    monkeypatch.setattr(quickstart, "HEADLINE", "fgsm")
    assert run(["quickstart", "--out", str(tmp_path / "q")]) == 0
    printed = capsys.readouterr()
    lines = printed.out.splitlines()
    assert lines[-1] == str(tmp_path / "q" / "report.html")
    assert max(map(len, lines[:-1])) <= 80
    assert len(lines) < 25
    assert [line.split()[0] for line in lines if "(" in line and "%" not in line][-2:] == ["natural", "rslad"]
    assert "95 % interval" in " ".join(printed.out.split())
    announced = [line for line in printed.err.splitlines() if line.startswith("[")]
    assert announced[0].startswith("[1/6] estimating the time left: fairbench train")
    assert len(announced) == 6
    made = {p: p.stat().st_mtime_ns for p in (tmp_path / "q").rglob("*") if p.suffix in (".pt", ".parquet")}
    assert len(made) == 5
    assert run(["quickstart", "--out", str(tmp_path / "q")]) == 0
    assert {p: p.stat().st_mtime_ns for p in made} == made
    told = capsys.readouterr().err.splitlines()
    assert told[1] == "5 of 6 steps were finished before"
    assert told[2].startswith("[6/6] estimating the time left: fairbench report")
    assert len([line for line in told if line.startswith("[")]) == 1


def test_a_folder_of_another_seed_or_version_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(quickstart, "run_side_by_side", lambda *args, **options: None)
    monkeypatch.setattr(quickstart, "_closing", lambda runs: "")
    assert run(["quickstart", "--out", str(tmp_path / "a")]) == 0
    assert run(["quickstart", "--out", str(tmp_path / "a")]) == 0
    assert run(["quickstart", "--out", str(tmp_path / "a"), "--seed", "7"]) == 2
    assert "with another seed or of another version" in capsys.readouterr().err
    made = tmp_path / "b" / "checkpoints" / "sat" / "sat.pt"
    made.parent.mkdir(parents=True)
    made.touch()
    assert run(["quickstart", "--out", str(tmp_path / "b")]) == 2


def test_a_step_that_fails_says_so_in_its_own_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(quickstart, "TEACHER", Training("teacher", ["--method", "trade"], 1))
    assert run(["quickstart", "--out", str(tmp_path)]) == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith("fairbench: unknown method 'trade'. Did you mean")
