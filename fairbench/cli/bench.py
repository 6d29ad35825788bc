"""`fairbench bench`: train and evaluate every method of a suite, and write the leaderboard."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from fairbench.cli.whole_number import WholeNumber


@click.command(name="bench")
@click.option("--suite", required=True, metavar="NAME", help="digits-small, mnist-small or cifar10-small.")
@click.option("--methods", metavar="A,B", help="Rows of the suite; default: all. The baseline is always among them.")
@click.option("--seeds", type=WholeNumber(1, 1000), metavar="N", help="Trainings of each row; default: the suite's.")
@click.option("--out", metavar="DIR", help="Folder of everything; default: runs/bench-<suite>.")
@click.option(
    "--jobs", type=WholeNumber(1, 1024), metavar="N",
    help="Processes at a time, with one thread each; default: one per core, or one per device.",
)  # fmt: skip
@click.option("--device", default="cpu", show_default=True, metavar="D", help="cpu, cuda (all of them) or cuda:N.")
@click.option("--epochs", type=WholeNumber(1), metavar="N", help="Of every training; default: the suite's.")
@click.option("--samples-per-class", type=WholeNumber(1), metavar="N", help="Training images; default: the suite's.")
@click.option("--test-per-class", type=WholeNumber(1), metavar="N", help="Test images; default: the suite's.")
@click.option("--data-dir", metavar="DIR", help="Where data sets lie; default: FAIRBENCH_DATA, else ./data.")
def command(**given: Any) -> None:
    """Train every method of a suite with several seeds, evaluate per class, and write leaderboard.md and .json.

    Stop it whenever you like: the same command goes on. A training that fails leaves its row with the reason, and the
    exit code is then that of the failure (2 bad input, 70 a bug); the others go on. The last line is the JSON file.
    """
    for option, value in given.items():
        if value == "":
            raise click.UsageError(f"--{option.replace('_', '-')} must not be empty.")
    from fairbench.benchmarking.bench import bench, resized
    from fairbench.benchmarking.devices import devices_of
    from fairbench.benchmarking.plan import find_suite
    from fairbench.progress import Bars

    suite = resized(
        find_suite(given["suite"]), epochs=given["epochs"], samples_per_class=given["samples_per_class"],
        test_per_class=given["test_per_class"],
    )  # fmt: skip
    methods = [name.strip() for name in given["methods"].split(",")] if given["methods"] is not None else None
    out = Path(given["out"]) if given["out"] is not None else Path("runs") / f"bench-{suite.name}"
    with Bars() as bars:
        table, page, code = bench(
            suite, out=out, methods=methods, seeds=given["seeds"], devices=devices_of(given["device"], given["jobs"]),
            progress=bars, data_dir=given["data_dir"],
        )  # fmt: skip
    click.echo(page)
    click.echo(table)
    click.get_current_context().exit(code)
