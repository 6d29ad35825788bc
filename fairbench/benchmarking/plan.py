"""The jobs of a suite: commands that a person could type, and which of them wait for which."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from fairbench.benchmarking.suites import SUITES, Row, Suite
from fairbench.errors import BadInput, unknown
from fairbench.runs import read_json, to_json
from fairbench.whole_file import write_whole

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Job:
    """One training and its evaluation.

    Attributes:
        key: its name and that of its files: "<row>-<seed>" or "teacher-<role>".
        commands: arguments of `fairbench`, in order; each resumes and finds what is finished.
        needs: keys of the jobs that must be finished before.
    """

    key: str
    commands: tuple[tuple[str, ...], ...]
    needs: tuple[str, ...] = ()


def find_suite(name: str) -> Suite:
    """Return a suite by name.

    Raises:
        BadInput: no such suite.
    """
    if name not in SUITES:
        raise unknown("suite", name, SUITES)
    return SUITES[name]


def chosen_rows(suite: Suite, names: Sequence[str] | None) -> tuple[Row, ...]:
    """Return the rows of some names in the suite's order, and the baseline, without which nothing is compared.

    None is every row but the extra ones.

    Raises:
        BadInput: the suite has no such row.
    """
    if names is None:
        return suite.rows
    known = [row.name for row in (*suite.rows, *suite.extra)]
    for name in names:
        if name not in known:
            raise unknown(f"method of suite {suite.name}:", name, known)
    return tuple(row for row in (*suite.rows, *suite.extra) if row.name in (*names, suite.baseline))


def jobs_of(suite: Suite, rows: Sequence[Row], seeds: int, out: Path, data_dir: str | None = None) -> list[Job]:
    """Return the teachers that the rows need, then every row with seed 0, then with seed 1, and so on.

    So an interrupted benchmark has whole seeds first.
    """
    dataset = suite.dataset.format(data=data_dir or os.environ.get("FAIRBENCH_DATA") or "data")
    where = ("--data-dir", data_dir) if data_dir is not None else ()
    roles = dict.fromkeys(role for row in rows for role in row.teachers)
    jobs = [
        Job(
            f"teacher-{role}",
            _commands(suite, Row(f"teacher-{role}", dict(suite.teachers)[role]), 0, out, dataset, where, teacher=True),
        )
        for role in roles
    ]
    for seed in range(seeds):
        for row in rows:
            needs = tuple(f"teacher-{role}" for role in row.teachers)
            jobs.append(Job(f"{row.name}-{seed}", _commands(suite, row, seed, out, dataset, where), needs))
    return jobs


def checkpoint_of(out: Path, key: str) -> Path:
    """Return where a job's checkpoint lies."""
    return out / "checkpoints" / key / f"{key}.pt"


def start_of(key: str) -> str:
    """Return the key of the training that a job continues, where its row has one."""
    return f"{key}-start"


def run_of(out: Path, key: str) -> Path:
    """Return a job's run folder."""
    return out / "runs" / key


def is_done(out: Path, key: str) -> bool:
    """Return whether the evaluation of this checkpoint is complete, without loading anything large."""
    run, sidecar = run_of(out, key), checkpoint_of(out, key).with_suffix(".json")
    if not (run / "run.json").exists() or not (run / "metrics.json").exists() or not sidecar.exists():
        return False
    evaluated = read_json(run / "run.json", what="run record")["model"]["sha256"]
    return bool(evaluated == read_json(sidecar, what="sidecar").get("sha256"))


def claim_folder(out: Path, suite: Suite) -> None:
    """Write what the folder is for, or check that it is for this: a leaderboard never mixes two settings.

    Rows and seeds may be added by later calls.

    Raises:
        BadInput: the folder belongs to another suite or to other settings of this one.
    """
    free = ("rows", "extra", "seeds", "description")
    wanted = json.loads(to_json({"schema": SCHEMA_VERSION} | {k: v for k, v in asdict(suite).items() if k not in free}))
    path = out / "suite.json"
    if not path.exists():
        write_whole(path, to_json(wanted))
        return
    found = read_json(path, what="suite record")
    for key in [*wanted, *found]:
        if found.get(key) != wanted.get(key):
            raise BadInput(
                f"{path} belongs to a benchmark with other settings: {key} = {found.get(key)} there, but "
                f"{wanted.get(key)} here; give another --out, or repeat that command."
            )


def _commands(
    suite: Suite, row: Row, seed: int, out: Path, dataset: str, where: tuple[str, ...], *, teacher: bool = False
) -> tuple[tuple[str, ...], ...]:
    key = row.name if teacher else f"{row.name}-{seed}"
    checkpoint = checkpoint_of(out, key)

    def training(name: str, method: str, epochs: int, lr: str) -> list[str]:
        return [
            "train", "--dataset", dataset, "--method", method, "--recipe", "common", "--eps", suite.eps,
            "--model", suite.teacher_model if teacher else suite.model, "--epochs", str(epochs), "--lr", lr,
            "--augment", suite.augment, "--samples-per-class", str(suite.samples_per_class), "--seed", str(seed),
            "--name", name, "--out", str(checkpoint_of(out, name).parent), *where,
        ]  # fmt: skip

    before = []
    train = training(key, row.method, suite.epochs, row.lr or suite.lr)
    if row.start is not None:
        method, epochs = row.start
        # Of few epochs, as many as leave one.
        before.append(tuple(training(start_of(key), method, max(min(epochs, suite.epochs - 1), 1), suite.lr)))
        train += ["--init", str(checkpoint_of(out, start_of(key)))]
    for role in row.teachers:
        train += ["--teacher", f"{role}={checkpoint_of(out, f'teacher-{role}')}"]
    for value in row.hyper:
        train += ["-p", value]
    for slot, rule in row.slots:
        train += [f"--{slot}", rule]
    train += row.options
    some = ("--samples-per-class", str(suite.test_per_class)) if suite.test_per_class is not None else ()
    evaluate = [
        "eval", str(checkpoint), "--attacks", ",".join(suite.attacks), "--eps", suite.eps, "--threads", "1",
        "--out", str(run_of(out, key)), *some, *where,
    ]  # fmt: skip
    return (*before, tuple(train), tuple(evaluate))
