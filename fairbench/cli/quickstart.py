"""`fairbench quickstart`: teacher, students, evaluation and report on the embedded digits, in minutes on a CPU.

It runs the same commands that a person would, and prints each of them.
"""

from __future__ import annotations

import contextlib
import io
import shlex
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import click

#: (name, arguments of `fairbench train`): the students' teacher is the model of the first line.
TEACHER = ("teacher", ["--method", "trades", "--model", "wide-cnn"])
STUDENTS = [
    ("natural", ["--method", "natural"]),
    ("sat", ["--method", "sat"]),
    ("trades", ["--method", "trades"]),
    ("rslad", ["--method", "rslad"]),
    ("absld", ["--method", "absld"]),
]
#: (suffix of the run, arguments of `fairbench eval`): what the package's AutoAttack needs is a minute for 900 digits.
EVALUATIONS = [
    ("", ["--attacks", "fgsm,pgd20,cw30"]),
    ("-aa", ["--attacks", "fgsm,pgd20,cw30,aa", "--samples-per-class", "10"]),
]


@dataclass(frozen=True)
class Step:
    """One command of the story, and its share of the time (seconds on two cores of a 2023 server)."""

    arguments: list[str]
    seconds: float


def steps(folder: Path, seed: int) -> tuple[list[Step], list[Path]]:
    """Return the commands in order, and the run folders that the report compares."""
    trained, todo, runs = folder / "checkpoints", [], []
    teacher = trained / TEACHER[0] / f"{TEACHER[0]}.pt"

    def train(name: str, arguments: list[str], seconds: float) -> Path:
        where = trained / name
        common = ["--name", name, "--seed", str(seed), "--out", str(where)]
        todo.append(Step(["train", "--dataset", "digits", *arguments, *common], seconds))
        return where / f"{name}.pt"

    train(*TEACHER, 20)
    students = []
    for name, arguments in STUDENTS:
        distilled = ["--teacher", str(teacher)] if name in ("rslad", "absld") else []
        students.append((name, train(name, [*arguments, *distilled], 5 if name == "natural" else 12)))
    for suffix, arguments in EVALUATIONS:
        for name, checkpoint in students:
            run = folder / "runs" / f"{name}{suffix}"
            todo.append(Step(["eval", str(checkpoint), *arguments, "--seed", str(seed), "--out", str(run)], 5))
            runs.append(run)
    todo.append(Step(["report", *map(str, runs), "--out", str(folder / "report.html")], 5))
    return todo, runs


@click.command(name="quickstart")
@click.option("--out", default="quickstart", show_default=True, help="Folder for checkpoints, runs and the report.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0), help="Seed of training and attacks.")
def command(out: str, seed: int) -> None:
    """Train a teacher and five students on real 8x8 digits, attack them class by class, and write one HTML report.

    Under five minutes on two cores. A second call reuses what is finished, also after an interruption.
    """
    from fairbench.whole_file import writable_folder

    if not out:
        raise click.UsageError("--out must name a folder, but is empty.")
    folder = writable_folder(Path(out))
    todo, _ = steps(folder, seed)
    _run_all([step.arguments for step in todo], [step.seconds for step in todo], _call)
    text = (folder / "tables" / "summary.md").read_text()
    click.echo(text)
    click.echo(folder / "report.html")


def _call(arguments: list[str]) -> str:
    from fairbench.cli import cli

    captured = io.StringIO()
    with contextlib.redirect_stdout(captured):
        cli.main(args=arguments, prog_name="fairbench", standalone_mode=False)
    return captured.getvalue()


def _run_all(commands: list[list[str]], seconds: list[float], call: Callable[[list[str]], str]) -> None:
    """Run the commands, each announced on stderr with the time that is left for all of them."""
    start, speed = time.monotonic(), 1.0
    expected = 0.0
    for number, (arguments, weight) in enumerate(zip(commands, seconds, strict=True), start=1):
        left = (sum(seconds) - sum(seconds[: number - 1])) * speed
        print(
            f"[{number}/{len(commands)}] about {_clock(left)} left: fairbench {shlex.join(arguments)}",
            file=sys.stderr, flush=True,
        )  # fmt: skip
        before = time.monotonic()
        call(arguments)
        if time.monotonic() - before > 1:  # what an earlier call finished says nothing about this machine
            expected += weight
            speed = (time.monotonic() - start) / expected


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d}"
