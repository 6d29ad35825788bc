"""Run a suite and write its leaderboard."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from fairbench.benchmarking.board import write_board
from fairbench.benchmarking.entries import Board, Entry
from fairbench.benchmarking.plan import chosen_rows, claim_folder, is_done, jobs_of
from fairbench.benchmarking.results import read_metrics, read_result
from fairbench.benchmarking.runner import Ending, Runner, worst_code
from fairbench.benchmarking.suites import Row, Suite
from fairbench.progress import Progress
from fairbench.whole_file import writable_folder

_NOT_YET = Ending(130, "not finished")


def bench(
    suite: Suite,
    *,
    out: Path,
    methods: Sequence[str] | None,
    seeds: int | None,
    devices: Sequence[str],
    progress: Progress,
    data_dir: str | None = None,
    runner: type[Runner] = Runner,
) -> tuple[Path, Path, int]:
    """Train and evaluate every row with every seed, and write the leaderboard.

    What is finished in the folder is not done again; an interrupted training continues. The leaderboard of what is
    finished is written also after an interruption.

    Args:
        suite: what to run, with the settings to run it with.
        out: the folder.
        methods: names of rows; None: all. The baseline is always among them.
        seeds: how many; None: the suite's.
        devices: one per process at a time.
        progress: what people see.
        data_dir: where data sets lie.
        runner: runs the jobs.

    Returns:
        leaderboard.json, leaderboard.md, and the highest exit code of a failed job, 0 where all are finished.

    Raises:
        BadInput: an unknown row, or a folder that cannot be used or belongs to other settings.
        KeyboardInterrupt: interrupted; every process has saved its state.
    """
    rows, count = chosen_rows(suite, methods), seeds or suite.seeds
    folder = writable_folder(out)  # as given: records of a relative folder name no path of this machine
    claim_folder(folder, suite)
    jobs = jobs_of(suite, rows, count, folder, data_dir)
    todo = [job for job in jobs if not is_done(folder, job.key)]
    progress.say(f"{suite.name}: {len(jobs)} trainings, {len(jobs) - len(todo)} of them finished already")
    running = runner(folder, partial(is_done, folder), devices, progress)
    running.ended = {job.key: Ending(0) for job in jobs if job not in todo}
    try:
        ended = running.run(jobs)
    finally:
        pages = write_board(collect(suite, rows, count, folder, running.ended), folder)
    return (*pages, worst_code(list(ended.values())))


def collect(suite: Suite, rows: Sequence[Row], seeds: int, folder: Path, ended: Mapping[str, Ending]) -> Board:
    """Read what is finished into a board; why a seed is missing is what its process said last."""
    entries = []
    for row in rows:
        endings = {seed: ended.get(f"{row.name}-{seed}", _NOT_YET) for seed in range(seeds)}
        done = tuple(read_result(folder, row.name, seed) for seed, ending in endings.items() if ending.code == 0)
        missing = {seed: ending.reason for seed, ending in endings.items() if ending.code != 0}
        entries.append(Entry(row, done, missing))
    teachers = {role: f"teacher-{role}" for role, _ in suite.teachers}
    finished = {role: read_metrics(folder, key) for role, key in teachers.items() if is_done(folder, key)}
    return Board(suite, tuple(entries), finished)


def resized(suite: Suite, *, epochs: int | None, samples_per_class: int | None, test_per_class: int | None) -> Suite:
    """Return the suite with other sizes, where they are given."""
    given = {"epochs": epochs, "samples_per_class": samples_per_class, "test_per_class": test_per_class}
    return replace(suite, **{name: value for name, value in given.items() if value is not None})  # type: ignore[arg-type]
