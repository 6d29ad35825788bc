"""The committed results of benchmarks: the leaderboard follows from the records beside it, and they say where from."""

from __future__ import annotations

import json
import runpy
import shutil
from pathlib import Path

import pytest

from fairbench.benchmarking.plan import find_suite, is_done, jobs_of

ROOT = Path(__file__).resolve().parents[2]
RESULTS = sorted((ROOT / "benchmarks" / "results").iterdir())
KEEP = runpy.run_path(str(ROOT / "benchmarks" / "keep_bench.py"), run_name="keep_bench")


@pytest.fixture(params=RESULTS, ids=lambda folder: folder.name)
def results(request, tmp_path) -> Path:
    return shutil.copytree(request.param, tmp_path / "results")


def suite_of(results: Path):
    return find_suite(json.loads((results / "suite.json").read_text())["name"])


def test_the_leaderboard_is_what_the_records_say(results):
    committed = {name: (results / name).read_text() for name in ("leaderboard.md", "leaderboard.json")}
    for name in committed:
        (results / name).unlink()
    KEEP["write_leaderboard"](suite_of(results), results)
    assert (results / "leaderboard.md").read_text() == committed["leaderboard.md"]
    ours, theirs = (
        json.loads(text) for text in ((results / "leaderboard.json").read_text(), committed["leaderboard.json"])
    )
    assert [entry["name"] for entry in ours["entries"]] == [entry["name"] for entry in theirs["entries"]]


def test_every_record_is_of_a_job_of_this_suite_and_names_no_machine(results):
    suite = suite_of(results)
    jobs = {job.key: job for job in jobs_of(suite, (*suite.rows, *suite.extra), 10, Path("runs") / "x")}
    for run in (results / "runs").iterdir():
        assert is_done(results, run.name), run.name
        sidecar = json.loads((results / "checkpoints" / run.name / f"{run.name}.json").read_text())
        train = jobs[run.name].commands[-2]
        assert sidecar["method"] == train[train.index("--method") + 1]
        assert sidecar["seed"] == int(train[train.index("--seed") + 1])
        assert sidecar["recipe"]["epochs"] + (sidecar.get("epochs_before") or 0) == suite.epochs
    for path in results.rglob("*.json*"):
        text = path.read_text()
        assert not any(f'"{place}' in text for place in ("/root", "/home", "/work", "/tmp")), path
