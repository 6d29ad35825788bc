"""fairbench compare RUN_A RUN_B: what changed, class by class, on the same images."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from fairbench.metrics.compare import AttackComparison, Comparison
    from fairbench.metrics.paired import Difference
    from fairbench.reporting.table import Table

#: Wide enough that nothing is wrapped where no terminal gives a width (a pipe, a file).
_UNLIMITED = 10_000


@click.command()
@click.argument("run_a", type=click.Path(path_type=Path))
@click.argument("run_b", type=click.Path(path_type=Path))
@click.option(
    "--also", nargs=2, multiple=True, metavar="A2 B2", type=click.Path(path_type=Path),
    help="The same two methods trained with another seed; repeatable.",
)  # fmt: skip
def command(run_a: Path, run_b: Path, also: tuple[tuple[Path, Path], ...]) -> None:
    """Compare RUN_B with RUN_A (folders that 'fairbench eval' wrote) on their common attacks.

    One sentence says what these images decide and what they do not. Then, for each attack: how many images of each
    class B lost and gained, exact McNemar p-values (Holm: corrected for the number of classes; * below 0.05), and how
    the average, the worst class and the spread changed, with 95 % intervals. Exits with 2 where samples, threat,
    attacks or protocol differ.

    All of that is about these two checkpoints on other images. With --also, once for each further seed, the t interval
    over the per-seed differences says what can be said about the two methods under other seeds; the two kinds of
    chance are never mixed. Refused where the trainings of one side differ in more than the seed, where a seed stands in
    two pairs, or where the two runs of a pair have different seeds; what run.json does not know is not asked.
    """
    import shutil
    import sys

    from fairbench.cli.compare_seeds import compare_pairs, seed_tables
    from fairbench.metrics.compare import compare_runs
    from fairbench.reporting.table_formats import plain, to_text
    from fairbench.runs import read_run

    first = (read_run(run_a), read_run(run_b))
    found = compare_runs(*first)
    of_seeds = compare_pairs([first, *((read_run(a), read_run(b)) for a, b in also)]) if also else []
    live = sys.stdout.isatty()
    width = shutil.get_terminal_size().columns if live else _UNLIMITED
    click.echo(click.wrap_text(plain(found.sentence), width) if live else plain(found.sentence))
    said, over_seeds = seed_tables(of_seeds) if also else ([], [])
    for sentence in said:
        click.echo(click.wrap_text(plain(sentence), width) if live else plain(sentence))
    click.echo(f"\nA = {plain(str(run_a))}\nB = {plain(str(run_b))}")
    for table in over_seeds:
        click.echo("\n" + to_text(table, width), nl=False)
    for attack in found.attacks:
        for table in (_classes(found, attack), _changes(attack)):
            click.echo("\n" + to_text(table, width), nl=False)


def _classes(found: Comparison, attack: AttackComparison) -> Table:
    from fairbench.reporting.table import Cell, Column, Table, percent

    heads = ("n", "A %", "B %", "B - A", "lost", "gained", "p", "p (Holm)")
    pairs = attack.pairs
    rows = tuple(
        (
            Cell(found.class_names[c]),
            Cell(str(pairs.count[c])),
            *((Cell(""),) * 7 if not pairs.count[c] else (
                Cell(percent(pairs.before[c])), Cell(percent(pairs.after[c])),
                Cell(f"{100 * (pairs.after[c] - pairs.before[c]):+.1f}"),
                Cell(str(pairs.lost[c])), Cell(str(pairs.gained[c])), Cell(_p(attack.p[c])), Cell(_p(attack.p_holm[c])),
            )),
        )
        for c in range(len(found.class_names))
    )  # fmt: skip
    columns = (Column("class", text=True), *(Column(head) for head in heads))
    return Table(f"classes-{attack.attack}", f"{attack.attack}: each class", columns, rows)


def _changes(attack: AttackComparison) -> Table:
    from fairbench.cli.compare_seeds import METRICS
    from fairbench.reporting.table import Cell, Column, Table

    changes: tuple[Difference, ...] = (attack.average, attack.worst_class, attack.std, attack.normalized_std)
    lines = [
        (name, metric(attack.pairs, False), metric(attack.pairs, True), change)
        for (name, metric), change in zip(METRICS, changes, strict=True)
    ]
    rows = tuple(
        (
            Cell(name), Cell(_number(a)), Cell(_number(b)), Cell(_number(change.value, "+.1f")),
            Cell(f"{_number(change.low, '+.1f')} to {_number(change.high, '+.1f')}"),
            Cell("decided" if change.decided else "not decided", ),
        )
        for name, a, b, change in lines
    )  # fmt: skip
    columns = (
        Column("", text=True), Column("A"), Column("B"), Column("B - A"), Column("95 % interval"),
        Column("sign", text=True),
    )  # fmt: skip
    return Table(f"changes-{attack.attack}", f"{attack.attack}: over all classes", columns, rows)


def _p(value: float) -> str:
    mark = "*" if value < 0.05 else ""
    return f"{value:.3f}{mark}" if value >= 0.001 else "<0.001*"


def _number(value: float, form: str = ".1f") -> str:
    return "-" if value != value else f"{100 * value:{form}}"
