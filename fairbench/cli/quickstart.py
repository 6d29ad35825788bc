"""`fairbench quickstart`: teacher, students, evaluation and report on the embedded digits, in minutes on a CPU.

It runs the same commands that a person would, and prints each of them.
"""

from __future__ import annotations

import contextlib
import io
import shlex
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import click


@dataclass(frozen=True)
class Training:
    """A model of the story: arguments of `fairbench train`, whether it needs the teacher, and seconds (see `Step`)."""

    name: str
    arguments: list[str]
    seconds: float
    distilled: bool = False


@dataclass(frozen=True)
class Evaluation:
    """How each student is attacked: suffix of the run's name, arguments of `fairbench eval`, and seconds a student."""

    suffix: str
    arguments: list[str]
    seconds: float


TEACHER = Training("teacher", ["--method", "trades", "--model", "wide-cnn"], 26)
STUDENTS = [
    Training("natural", ["--method", "natural"], 4),
    Training("sat", ["--method", "sat"], 14),
    Training("trades", ["--method", "trades"], 16),
    Training("rslad", ["--method", "rslad"], 18, distilled=True),
    Training("absld", ["--method", "absld"], 17, distilled=True),
]
#: The closing table shows the first one. The package's AutoAttack needs a minute for 900 digits, so it gets 10 a class.
EVALUATIONS = [
    Evaluation("", ["--attacks", "fgsm,pgd20,cw30"], 2.5),
    Evaluation("-aa", ["--attacks", "fgsm,pgd20,cw30,aa", "--samples-per-class", "10"], 15),
]
REPORT_SECONDS = 7
#: The attack of the closing table.
HEADLINE = "pgd20"


@dataclass(frozen=True)
class Step:
    """One command of the story.

    Attributes:
        arguments: behind `fairbench`.
        seconds: its share of the time: CPU seconds of one thread, measured once. Only their proportions are used.
        product: the file it leaves when it is finished.
    """

    arguments: list[str]
    seconds: float
    product: Path


def steps(folder: Path, seed: int) -> tuple[list[Step], list[list[Path]]]:
    """Return the commands in order, and the run folders: for each evaluation, one of each student."""
    todo: list[Step] = []

    def checkpoint(training: Training) -> Path:
        return folder / "checkpoints" / training.name / f"{training.name}.pt"

    for training in (TEACHER, *STUDENTS):
        made = checkpoint(training)
        teacher = ["--teacher", str(checkpoint(TEACHER))] if training.distilled else []
        common = ["--name", training.name, "--seed", str(seed), "--out", str(made.parent)]
        todo.append(
            Step(["train", "--dataset", "digits", *training.arguments, *teacher, *common], training.seconds, made)
        )
    runs = [[folder / "runs" / f"{one.name}{evaluation.suffix}" for one in STUDENTS] for evaluation in EVALUATIONS]
    for evaluation, places in zip(EVALUATIONS, runs, strict=True):
        for student, run in zip(STUDENTS, places, strict=True):
            arguments = [str(checkpoint(student)), *evaluation.arguments, "--seed", str(seed), "--out", str(run)]
            todo.append(Step(["eval", *arguments], evaluation.seconds, run / "run.json"))
    page = folder / "report.html"
    every = [str(run) for places in runs for run in places]
    todo.append(Step(["report", *every, "--out", str(page)], REPORT_SECONDS, page))
    return todo, runs


@click.command(name="quickstart")
@click.option("--out", default="quickstart", show_default=True, help="Folder for checkpoints, runs and the report.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0), help="Seed of training and attacks.")
def command(out: str, seed: int) -> None:
    """Train a teacher and five students on real 8x8 digits, attack them class by class, and write one HTML report.

    Minutes on two cores. A second call reuses what is finished, also after an interruption. The last line printed is
    the report's path.
    """
    from fairbench.whole_file import writable_folder

    if not out:
        raise click.UsageError("--out must name a folder, but is empty.")
    folder = writable_folder(Path(out))
    todo, runs = steps(folder, seed)
    print(
        f"{len(todo)} steps: train a teacher and {len(STUDENTS)} students on real 8x8 digits, attack each student, "
        f"write one report, all in {folder}/. Ctrl-C is safe: the same command goes on. "
        "Each step is a command of its own:",
        file=sys.stderr, flush=True,
    )  # fmt: skip
    _run_all(todo, _call)
    click.echo(_closing(runs[0]))
    click.echo("Everything, with plots and intervals, is in this file; open it in a browser:")
    click.echo(folder / "report.html")


def _closing(runs: Sequence[Path]) -> str:
    """Return the closing table and what it says."""
    from fairbench.reporting.table_formats import plain, to_text
    from fairbench.reporting.tables import brief_table
    from fairbench.reporting.view import view_runs
    from fairbench.reporting.words import meaning, set_sentence
    from fairbench.runs import read_run

    (samples,) = view_runs([read_run(run) for run in runs])
    seen = samples.having(HEADLINE)
    said = set_sentence(samples, HEADLINE) if len(seen) > 1 else meaning(seen[0], HEADLINE)
    return f"{to_text(brief_table(samples, HEADLINE), 80)}\n{click.wrap_text(plain(said), 80)}\n"


def _call(arguments: list[str]) -> None:
    """Run one command in this process; what it prints to stdout is not part of quickstart's result."""
    from fairbench.cli import cli

    with contextlib.redirect_stdout(io.StringIO()), cli.make_context("fairbench", list(arguments)) as context:
        cli.invoke(context)


def _run_all(todo: Sequence[Step], call: Callable[[list[str]], None]) -> None:
    """Run the steps, each announced on stderr with the time that is left for all of them.

    How fast this machine is shows only when a step has worked; steps that an earlier call finished say nothing about
    it and take no time.
    """
    # The report is always written anew.
    finished = [step.product.exists() for step in todo[:-1]] + [False]
    seconds = worked = 0.0
    for number, step in enumerate(todo, start=1):
        done = finished[number - 1]
        waiting = sum(one.seconds for one, over in zip(todo, finished, strict=True) if not over) - worked
        if done:
            told = "finished before"
        else:
            told = f"about {_clock(waiting * seconds / worked)} left" if worked else "estimating the time left"
        print(f"[{number}/{len(todo)}] {told}: fairbench {shlex.join(step.arguments)}", file=sys.stderr, flush=True)
        before = time.monotonic()
        call(step.arguments)
        if not done:
            seconds, worked = seconds + time.monotonic() - before, worked + step.seconds


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d}"
