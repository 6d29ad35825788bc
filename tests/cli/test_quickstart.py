"""`fairbench quickstart` with one epoch, one student and one evaluation: its story, its time, and its second call."""

from __future__ import annotations

from pathlib import Path

import pytest

from fairbench.cli import quickstart, run, train
from fairbench.cli.quickstart import Evaluation, Step, Training


def test_the_story_trains_every_student_and_evaluates_it_in_every_way(tmp_path: Path) -> None:
    todo, runs = quickstart.steps(tmp_path, 3)
    commands = [step.arguments[0] for step in todo]
    ways = len(quickstart.EVALUATIONS)
    assert commands == ["train"] * 6 + ["eval"] * 5 * ways + ["report"]
    assert [[run.name for run in places] for places in runs] == [
        [name + way.suffix for name in ("natural", "sat", "trades", "rslad", "absld")] for way in quickstart.EVALUATIONS
    ]
    assert all(step.arguments[step.arguments.index("--seed") + 1] == "3" for step in todo[:-1])
    assert [("--teacher" in step.arguments) for step in todo[:6]] == [False] * 4 + [True] * 2
    assert all(
        quickstart.HEADLINE in way.arguments[way.arguments.index("--attacks") + 1] for way in quickstart.EVALUATIONS
    )


def test_a_second_call_reuses_what_is_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(quickstart, "TEACHER", Training("teacher", ["--method", "natural", "--epochs", "1"], 1))
    students = [
        Training(name, ["--method", name, "--epochs", "1"], 1, name == "rslad") for name in ("natural", "rslad")
    ]
    monkeypatch.setattr(quickstart, "STUDENTS", students)
    few = ["--attacks", "fgsm", "--samples-per-class", "3", "--accept", "low-accuracy", "--threads", "1"]
    monkeypatch.setattr(quickstart, "EVALUATIONS", [Evaluation("", few, 1)])
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
    assert announced[1].startswith("[2/6] about ")
    made = {p: p.stat().st_mtime_ns for p in (tmp_path / "q").rglob("*") if p.suffix in (".pt", ".parquet")}
    assert len(made) == 5
    assert run(["quickstart", "--out", str(tmp_path / "q")]) == 0
    assert {p: p.stat().st_mtime_ns for p in made} == made
    told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("[")]
    assert [line.split(": fairbench")[0][6:] for line in told] == ["finished before"] * 5 + ["estimating the time left"]


def test_the_time_left_counts_what_is_left_at_the_speed_of_what_worked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Weights 10 (finished before), 20, 40, 30: the second takes 60 s, three times its weight, so 70 * 3 are left.

    Then a weight of 60 has taken 120 s, twice as much, so 30 * 2 are left.
    """
    (tmp_path / "0").write_text("")
    todo = [Step([str(n)], weight, tmp_path / str(n)) for n, weight in enumerate((10, 20, 40, 30))]
    clock = {"now": 0.0}
    monkeypatch.setattr(quickstart.time, "monotonic", lambda: clock["now"])

    def call(arguments: list[str]) -> None:
        clock["now"] += {"0": 2, "1": 60, "2": 60, "3": 1}[arguments[0]]

    quickstart._run_all(todo, call)
    assert [line.split(": fairbench")[0] for line in capsys.readouterr().err.splitlines()] == [
        "[1/4] finished before", "[2/4] estimating the time left", "[3/4] about 3:30 left", "[4/4] about 1:00 left",
    ]  # fmt: skip


def test_ctrl_c_within_a_step_is_one_sentence_without_empty_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def press(**options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(train.command, "callback", press)
    assert run(["quickstart", "--out", str(tmp_path)]) == 130
    printed = capsys.readouterr()
    lines = printed.err.splitlines()
    assert " steps: train a teacher and 5 students" in lines[0]
    assert lines[1].startswith("[1/")
    assert lines[2:] == ["fairbench: interrupted; the same command goes on where this one stopped."]
    assert printed.out == ""
