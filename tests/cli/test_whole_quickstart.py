"""The whole of `fairbench quickstart`, as a newcomer runs it: minutes."""

from __future__ import annotations

from pathlib import Path

import pytest

from fairbench.cli import run
from fairbench.runs import read_run

STUDENTS = ("natural", "sat", "trades", "rslad", "absld")


def content(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.slow
def test_one_report_of_five_students_and_a_second_call_that_does_nothing_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["quickstart"]) == 0
    printed = capsys.readouterr()
    report = tmp_path / "quickstart" / "report.html"
    assert printed.out.strip().splitlines()[-1] == str(Path("quickstart") / "report.html")

    runs = {path.parent.name: read_run(path.parent) for path in (tmp_path / "quickstart" / "runs").glob("*/run.json")}
    assert set(STUDENTS) == set(runs)
    page = report.read_text()
    for name in STUDENTS:
        outcomes = runs[name].outcomes
        for attack in ("fgsm", "pgd20", "cw30", "aa"):
            assert len(outcomes.of(attack)) == 900, "the whole test split"
        assert outcomes.robust("aa").mean() <= outcomes.robust("pgd20").mean()
        # A trained model, not a guess; and robust training is seen in the numbers: that is what the report is for.
        assert outcomes.robust("natural").mean() > 0.8, name
        assert name in page
    robust = {name: float(runs[name].outcomes.robust("pgd20").mean()) for name in STUDENTS}
    assert all(robust[name] > robust["natural"] + 0.2 for name in STUDENTS[1:]), robust
    assert "http://" not in page.replace("http://www.w3.org/", ""), "self-contained"

    before = content(tmp_path / "quickstart")
    assert run(["quickstart"]) == 0
    told = capsys.readouterr().err.splitlines()
    assert told[1] == "11 of 12 steps were finished before"
    assert [line for line in told if line.startswith("[")] == [line for line in told if "fairbench report" in line]
    after = content(tmp_path / "quickstart")
    assert after.keys() == before.keys()
    kept = [path for path in before if path.suffix in (".pt", ".parquet", ".json", ".jsonl")]
    assert len(kept) > 15
    assert [path for path in kept if after[path] != before[path]] == []
