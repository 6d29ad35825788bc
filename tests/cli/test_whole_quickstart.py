"""The whole of `fairbench quickstart`, as a newcomer runs it: minutes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fairbench.cli import run
from fairbench.evaluation import blocks
from fairbench.runs import read_run
from fairbench.training.step import Stepper

STUDENTS = ("natural", "sat", "trades", "rslad", "absld")


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How many training steps were taken and how many blocks of images were attacked."""
    counted: Counter[str] = Counter()

    def count(owner: Any, name: str, what: str) -> None:
        real: Callable[..., Any] = getattr(owner, name)

        def call(*args: Any, **options: Any) -> Any:
            counted[what] += 1
            return real(*args, **options)

        monkeypatch.setattr(owner, name, call)

    count(Stepper, "take", "steps")
    count(blocks, "to_unit", "blocks")
    return counted


def content(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.slow
def test_one_report_of_five_students_and_a_second_call_that_does_nothing_again(
    work: Counter[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["quickstart"]) == 0
    printed = capsys.readouterr()
    report = tmp_path / "quickstart" / "report.html"
    assert printed.out.strip().splitlines()[-1] == str(Path("quickstart") / "report.html")
    assert work["steps"] > 5 * 100, "a teacher and five students were trained"
    assert work["blocks"] > 5 * 4, "and each attacked"

    runs = {path.parent.name: read_run(path.parent) for path in (tmp_path / "quickstart" / "runs").glob("*/run.json")}
    assert set(STUDENTS) <= set(runs)
    page = report.read_text()
    for name in STUDENTS:
        outcomes = runs[name].outcomes
        assert len(outcomes.of("pgd20")) == 900, "the whole test split"
        # A trained model, not a guess; and robust training is seen in the numbers: that is what the report is for.
        assert outcomes.robust("natural").mean() > 0.8, name
        assert name in page
    robust = {name: float(runs[name].outcomes.robust("pgd20").mean()) for name in STUDENTS}
    assert all(robust[name] > robust["natural"] + 0.2 for name in STUDENTS[1:]), robust
    assert "http://" not in page.replace("http://www.w3.org/", ""), "self-contained"

    before, done = content(tmp_path / "quickstart"), dict(work)
    assert run(["quickstart"]) == 0
    assert dict(work) == done, "no training step and no attacked block"
    after = content(tmp_path / "quickstart")
    assert after.keys() == before.keys()
    kept = [path for path in before if path.suffix in (".pt", ".parquet", ".json", ".jsonl")]
    assert len(kept) > 20
    assert [path for path in kept if after[path] != before[path]] == []
