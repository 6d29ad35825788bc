"""Copy what a benchmark's leaderboard is made of, and what goes on with it, from its folder into benchmarks/results.

    python benchmarks/keep_bench.py runs/bench-mnist-small benchmarks/results/mnist-small

Kept are the settings, each finished training's sidecar and log, its run.json and its metrics.json (made anew from the
table of verdicts, which is left out for its size), and the teachers' weights.
`fairbench bench --suite mnist-small --out benchmarks/results/mnist-small` then finds these trainings finished, and goes
on with the others.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

from fairbench.benchmarking.bench import collect
from fairbench.benchmarking.board import write_board
from fairbench.benchmarking.plan import checkpoint_of, claim_folder, find_suite, is_done, run_of, start_of
from fairbench.benchmarking.runner import Ending
from fairbench.benchmarking.suites import Suite
from fairbench.metrics.summary import metrics_bytes
from fairbench.runs import read_json, read_run


def keep(source: Path, target: Path) -> None:
    """Copy every finished training that is not there yet, and write the leaderboard of all that are."""
    suite = find_suite(read_json(source / "suite.json", what="suite record")["name"])
    target.mkdir(parents=True, exist_ok=True)
    for folder in (source, target):
        claim_folder(folder, suite)  # neither may hold trainings with other settings
    for folder in sorted((source / "runs").iterdir()):
        key = folder.name
        if not is_done(source, key) or is_done(target, key):
            continue
        for name in (key, start_of(key)):
            _copy(checkpoint_of(source, name), checkpoint_of(target, name), weights=key.startswith("teacher-"))
        run = run_of(target, key)
        run.mkdir(parents=True, exist_ok=True)
        (run / "metrics.json").write_text(metrics_bytes(read_run(folder)))
        shutil.copyfile(folder / "run.json", run / "run.json")
    write_leaderboard(suite, target)


def write_leaderboard(suite: Suite, folder: Path) -> None:
    """Write the leaderboard of the trainings that are finished in a folder, without training any."""
    finished: dict[str, set[int]] = {}
    for run in (folder / "runs").iterdir():
        row, _, seed = run.name.rpartition("-")
        if seed.isdigit() and is_done(folder, run.name):
            finished.setdefault(row, set()).add(int(seed))
    rows = [row for row in (*suite.rows, *suite.extra) if row.name in finished]
    seeds = max(suite.seeds, 1 + max((max(of) for of in finished.values()), default=0))
    ended = {f"{row}-{seed}": Ending(0) for row, of in finished.items() for seed in of}
    write_board(collect(suite, rows, seeds, folder, ended), folder)


def _copy(source: Path, target: Path, *, weights: bool) -> None:
    """Copy a checkpoint's sidecar and log, where there are any, and its weights if asked."""
    if not source.with_suffix(".json").exists():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    log = f"{source.stem}.log.jsonl"
    names = [source.with_suffix(".json").name, log, *([source.name] if weights else [])]
    for name in names:
        shutil.copyfile(source.with_name(name), target.with_name(name))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    arguments = parser.parse_args()
    keep(arguments.source, arguments.target)
