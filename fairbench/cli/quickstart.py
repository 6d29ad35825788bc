"""`fairbench quickstart`: teacher, students, evaluation and report on the embedded digits, in minutes on a CPU.

It runs the same commands that a person would, and prints each of them.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from fairbench.cli.several import cores
from fairbench.cli.side_by_side import Command, Step, run_side_by_side
from fairbench.cli.whole_number import WholeNumber


@dataclass(frozen=True)
class Training:
    """A model of the story.

    Attributes:
        name: of its checkpoint and run.
        arguments: of `fairbench train`.
        seconds: of training, see `Step`.
        attacked: seconds of attacking it; what is broken early costs little.
        distilled: whether it needs the teacher.
        processes: that attack it; the shortest attack comes last, when nothing else is left for the other cores.
    """

    name: str
    arguments: list[str]
    seconds: float
    attacked: float = 75
    distilled: bool = False
    processes: int = 1


TEACHER = Training("teacher", ["--method", "trades", "--model", "wide-cnn"], 26)
STUDENTS = [
    Training("natural", ["--method", "natural"], 4, attacked=50, processes=2),
    Training("sat", ["--method", "sat"], 14),
    Training("trades", ["--method", "trades"], 16),
    Training("rslad", ["--method", "rslad"], 18, distilled=True),
    Training("absld", ["--method", "absld"], 17, distilled=True),
]
#: How each student is attacked, on all 900 test images; two large blocks take fewer steps than four small ones.
ATTACKS = ["--attacks", "fgsm,pgd20,cw30,aa", "--batch-size", "450"]
REPORT_SECONDS = 7
#: The attack of the closing table.
HEADLINE = "aa"


def steps(folder: Path, seed: int) -> tuple[list[Step], list[Path]]:
    """Return the commands in order, and the run folder of each student."""
    todo: list[Step] = []

    def checkpoint(training: Training) -> Path:
        return folder / "checkpoints" / training.name / f"{training.name}.pt"

    for training in (TEACHER, *STUDENTS):
        made = checkpoint(training)
        needs: tuple[Path, ...] = (checkpoint(TEACHER),) if training.distilled else ()
        arguments = ["train", "--dataset", "digits", *training.arguments, *(f"--teacher={place}" for place in needs)]
        common = ["--name", training.name, "--seed", str(seed), "--out", str(made.parent)]
        todo.append(Step(f"train {training.name}", [*arguments, *common], training.seconds, made, needs))
    runs = [folder / "runs" / student.name for student in STUDENTS]
    for student, run in zip(STUDENTS, runs, strict=True):
        made = checkpoint(student)
        # One thread wherever it runs: the thread count is part of a run's settings.
        arguments = ["eval", str(made), *ATTACKS, "--threads", "1", "--seed", str(seed), "--out", str(run)]
        if student.processes > 1:
            arguments += ["--processes", str(student.processes)]
        todo.append(Step(f"attack {run.name}", arguments, student.attacked, run / "run.json", (made,)))
    page = folder / "report.html"
    evaluated = tuple(run / "run.json" for run in runs)
    arguments = ["report", *map(str, runs), "--out", str(page)]
    todo.append(Step("report", arguments, REPORT_SECONDS, page, evaluated, always=True))
    return todo, runs


@click.command(name="quickstart")
@click.option("--out", default="quickstart", show_default=True, help="Folder for checkpoints, runs and the report.")
@click.option("--seed", default=0, show_default=True, type=WholeNumber(0), help="Seed of training and attacks.")
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
    _refuse_another_story(folder, todo)
    print(
        f"{len(todo)} steps: train a teacher and {len(STUDENTS)} students on real 8x8 digits, attack each student, "
        f"write one report, all in {folder}/. Ctrl-C is safe: the same command goes on. "
        "Each step is a command of its own:",
        file=sys.stderr, flush=True,
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as logs:
        run_side_by_side(todo, lambda step: Command(step.arguments, Path(logs) / f"{step.name}.log"), workers=workers())
    click.echo(_closing(runs))
    click.echo("Everything, with plots and intervals, is in this file; open it in a browser:")
    click.echo(folder / "report.html")


def _refuse_another_story(folder: Path, todo: Sequence[Step]) -> None:
    """Write down what this folder is for, and refuse one that was begun with another seed or version.

    Raises:
        BadInput: it was.
    """
    from fairbench.errors import BadInput
    from fairbench.runs import PROTOCOL_VERSION, read_json, write_json

    place = folder / "quickstart.json"
    asked = {"protocol": PROTOCOL_VERSION, "commands": [step.arguments for step in todo]}
    if place.exists():
        known = read_json(place, what="the record of what quickstart does here")
        same = known == asked
    else:
        same = not any(step.product.exists() for step in todo)
    if not same:
        raise BadInput(
            f"the folder {str(folder)[:150]!r} holds what a quickstart with another seed or of another version made; "
            "choose another --out, or delete it."
        )
    write_json(place, asked)


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


def workers() -> int:
    """Return how many commands run at a time: one per core that this process may use, at most one per student."""
    return min(cores(), len(STUDENTS))
