"""Races replayed on the verdicts of committed AutoAttack runs: counts and costs by hand, refusals, and a failure."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fairbench.errors import BadInput
from fairbench.metrics import race as statistics

ROOT = Path(__file__).parents[2]
RUN = ROOT / "reports" / "digits-absld-aa"


@pytest.fixture(scope="module")
def benchmark() -> Iterator[Any]:
    """benchmarks/find_worst.py, which imports its neighbours."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "benchmarks")
        yield importlib.import_module("find_worst")


def test_what_broke_each_sample_and_what_it_cost(benchmark: Any) -> None:
    """97 of 100 are right by nature, APGD-CE leaves 83, APGD-T breaks one of class 5, FAB-T and Square none.

    102 * 97 + 919 * 83 + (1,828 + 5,003) * 82 = 646,313 forwards; a survivor costs 7,750 after APGD-CE, the broken one
    919.
    """
    table = benchmark.RealRun(RUN)
    assert table.count.tolist() == [10] * 10
    assert table.survivors.tolist() == [10, 10, 8, 10, 8, 7, 10, 8, 7, 5]
    assert table.robust.tolist() == [10, 10, 8, 10, 8, 6, 10, 8, 7, 5]
    assert table.worst() == (0.5, 10)
    assert table.entered + table.cost.sum() == 646_313
    assert sorted(set(table.cost[table.first].tolist())) == [919, 7750]
    assert not table.cost[~table.first].any()


def test_a_class_is_dealt_out_to_its_counts_and_charged(benchmark: Any) -> None:
    run = benchmark.RealRun(RUN)
    table = run.table(np.random.default_rng(0), 3)
    verdicts = [*table.deal(5, 3), *table.deal(5, 4)]
    assert (len(verdicts), sum(verdicts)) == (7, 1)
    assert table.share() == (102 * 97 + 919 + 6 * 7750) / 646_313
    places = {
        next(i for i in range(7) if run.table(np.random.default_rng(0), seed).deal(5, i + 1)[i]) for seed in range(40)
    }
    assert len(places) > 3  # seeds draw in other orders


def test_the_printed_table_of_a_replay(benchmark: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert benchmark.main(["--real", str(RUN), "--races", "20", "--below", "0.25", "--below", "0.5"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "20 races per question, confidence 0.95, batches of 64 or the run's block"
    assert lines[1].startswith("digits-absld-aa: 100 images, aa (AutoAttack; forwards of a survivor: apgd-ce 102, ")
    assert "7>6" in lines[1].split()
    rows = [line.split() for line in lines[3:]]
    assert [row[1:-5] for row in rows] == [["worst"], *(["below", at] for at in ("0.51", "0.6", "0.5", "0.49", "0.25"))]
    assert all(float(row[-5]) == 0 and 0 < float(row[-2]) <= float(row[-1]) <= 1 for row in rows)


def test_a_race_that_is_wrong_fails(
    benchmark: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The cheap attack's worst class named at once, where the full run breaks all of another one."""
    run = benchmark.RealRun(RUN)
    run.broken, run.robust = run.broken.copy(), run.robust.copy()
    run.broken[run.first & (run.labels == 5)], run.robust[5] = True, 0
    monkeypatch.setattr(benchmark, "RealRun", lambda folder: run)
    assert benchmark.main(["--real", str(RUN), "--races", "50"]) == 0
    assert "TOO OFTEN" not in capsys.readouterr().out
    monkeypatch.setattr(statistics, "not_above", lambda *_: np.inf)
    assert benchmark.main(["--real", str(RUN), "--races", "50"]) == 1
    assert "  1.0000 " in next(row for row in capsys.readouterr().out.splitlines() if "TOO OFTEN" in row)


@pytest.mark.parametrize(
    ("folder", "words"),
    [("digits-absld", "several parts, but digits-absld has none among"), ("none-such", "does not exist")],
)
def test_a_folder_that_is_no_such_run(
    benchmark: Any, folder: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(BadInput, match=words):
        benchmark.RealRun(ROOT / "reports" / folder)
    assert benchmark.main(["--real", str(ROOT / "reports" / folder)]) == 2
    assert capsys.readouterr().err.startswith("Error: ")
