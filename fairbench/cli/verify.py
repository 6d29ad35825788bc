"""fairbench verify RUN: rebuild a run's table from its adversarial examples, without an attack."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from fairbench.cli.checkpoint_options import refuse_empty
from fairbench.cli.recorded_options import recorded_device, recorded_options, recorded_task


@click.command(name="verify")
@click.argument("run", type=click.Path(path_type=Path))
@recorded_options
def command(run: Path, threads: int | None, device: str | None, **where: Any) -> None:
    """Predict the adversarial examples of RUN again and compare the table that follows with the run's.

    RUN was made with 'fairbench eval --save-adversarial'. No attack runs. Hashes of the checkpoint, the samples and
    every file of examples, the radius and the pixel range are checked. Rows that differ are listed. Exit 0 when the
    table is the one that the examples give, and metrics.json what follows from it; 2 when they are not, or when
    something was changed or is missing.

    Also counted is how many adversarial examples stay adversarial when their pixels are rounded to 8 bits (n/255), as
    in an image file, and how many are then still within the radius. Leaving it is no fault of the run: at a radius that
    is no whole number of 1/255, and in L2 and L1, rounding alone can do it.
    """
    from fairbench.errors import BadInput
    from fairbench.evaluation.examples import kept_examples
    from fairbench.evaluation.networks import device_of
    from fairbench.evaluation.verify import verify
    from fairbench.metrics.summary import refuse_other_metrics
    from fairbench.progress import Bars
    from fairbench.reporting.attack_names import top_level
    from fairbench.reporting.disagreement import difference_table, eight_bit_sentence, eight_bit_table
    from fairbench.reporting.table_formats import plain, to_text
    from fairbench.runs import read_run

    refuse_empty(where)
    finished = read_run(run)
    kept_examples(run, finished.record)  # before anybody is asked for a checkpoint
    place = device_of(device if device is not None else recorded_device(finished))
    loaded, samples = recorded_task(finished, device=place, **where)
    with Bars() as bars:
        found = verify(finished, loaded.model, samples, device=place, threads=threads, progress=bars)
    click.echo(to_text(eight_bit_table(found.rebuilt, found.differences, found.eight_bit, finished), 140), nl=False)
    if found.differences:
        differing = difference_table(
            found.differences, finished.class_names, before="in the table", after="from the examples"
        )
        click.echo(to_text(differing, 140), nl=False)
    click.echo(eight_bit_sentence(found.eight_bit, top_level(found.rebuilt.attacks), found.threat))
    if found.differences:
        first = found.differences[0]
        raise BadInput(
            f"the run's table does not match its examples: {len(found.differences)} of {len(found.rebuilt)} rows "
            f"differ, the first in the {first.column} of sample {first.index} under {first.attack[:60]}; do not use "
            "its numbers, evaluate again."
        )
    refuse_other_metrics(finished)
    click.echo(
        plain(
            f"Verified: all {len(found.rebuilt)} rows of {finished.name} agree with its examples, predicted again by "
            f"{loaded.name} without an attack."
        )
    )
