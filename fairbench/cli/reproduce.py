"""fairbench reproduce RUN: run again what its record says, and list the verdicts that flipped."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fairbench.cli.checkpoint_options import refuse_empty
from fairbench.cli.recorded_options import recorded_device, recorded_options, recorded_task

if TYPE_CHECKING:
    from fairbench.runs import Run


@click.command(name="reproduce")
@click.argument("run", type=click.Path(path_type=Path))
@recorded_options
@click.option("--out", metavar="DIR", help="Folder for the new run, which resumes. Default: nothing is written.")
def command(run: Path, threads: int | None, device: str | None, out: str | None, **where: Any) -> None:
    """Evaluate again as run.json says: the same checkpoint, samples, attacks, seed, precision, engine and block size.

    Lists every verdict that flipped between RUN and the repetition. Exit 0 however many flipped (a bound on their share
    is 'fairbench gate NEW --baseline RUN --same'); 2 where the checkpoint or the samples are other ones, or where this
    version of fairbench would do something else. Device and threads may differ: they only round floats differently.
    """
    from fairbench import distributed
    from fairbench.cli.processes import joined
    from fairbench.evaluation.recorded_published import published_name
    from fairbench.evaluation.reproduce import reproduce
    from fairbench.progress import Bars, Silent
    from fairbench.runs import read_run
    from fairbench.whole_file import usable_folder

    refuse_empty({**where, "out": out})
    before = read_run(run)
    with joined(device if device is not None else recorded_device(before)) as place:
        if out is not None:
            usable_folder(Path(out))
        loaded, samples = recorded_task(before, device=place, **where)
        source = (loaded.sidecar or {}).get("source") if published_name(before.record) is not None else None
        work: dict[str, Any] = {"device": place, "threads": threads, "out": out, "source": source}
        if distributed.is_main():
            with Bars() as bars:
                again = reproduce(before, loaded.model, samples, progress=bars, **work)
            _print(before, again)
        else:
            reproduce(before, loaded.model, samples, progress=Silent(), **work)


def _print(before: Run, again: Run) -> None:
    """Print the flips of each attack, each flipped verdict, what surrounds both runs, and one sentence."""
    from fairbench.metrics.comparable import common_attacks
    from fairbench.metrics.disagreement import differences
    from fairbench.reporting.disagreement import difference_table, flip_sentence, surroundings
    from fairbench.reporting.table_formats import plain, to_text

    # Proves once more that both answer the same question, on the same samples and labels.
    common_attacks(again, before)
    found = differences(before.outcomes, again.outcomes)
    flips = [one for one in found if one.flipped]
    if flips:
        click.echo(
            to_text(difference_table(flips, before.class_names, before="in the run", after="again"), 140), nl=False
        )
    around = surroundings(again.record, before.record)
    if around:
        click.echo(plain(f"Surroundings that differ: {around}."))
    click.echo(plain(flip_sentence(found, again.outcomes)))
    if again.folder is not None:
        click.echo(str(again.folder))
