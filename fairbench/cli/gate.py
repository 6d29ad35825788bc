"""`fairbench gate`: exit 1 when a model got worse than its baseline, or when an evaluation drifted."""

from __future__ import annotations

from pathlib import Path

import click


@click.command(name="gate")
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--baseline", required=True, type=click.Path(path_type=Path), help="Run folder to compare with.")
@click.option("--max-drop", metavar="POINTS", help="Largest drop of the average, in percentage points. Default 1.0.")
@click.option(
    "--max-worst-drop", metavar="POINTS", help="Largest drop of the worst class of either run, in points. Default 3.0."
)
@click.option("--same", is_flag=True, help="Check instead that both evaluated the same model: count flipped verdicts.")
@click.option("--max-flips", metavar="SHARE", help="With --same: largest share of an attack's verdicts. Default 0.005.")
def command(
    run: Path, baseline: Path, max_drop: str | None, max_worst_drop: str | None, same: bool, max_flips: str | None
) -> None:
    """Compare RUN with a baseline run on the same samples; exit 0 if it passes, 1 if not, 2 if not comparable.

    A model got worse: for each attack, the average and the worst class of either run may drop by so many percentage
    points; a larger drop fails if the one-sided exact McNemar test on those images gives p < 0.05. An evaluation
    drifted (--same): for each attack, natural and the parts of a cascade included, at most a share of verdicts may
    flip.

    Flags for masked gradients that only RUN has are printed and do not decide; 'fairbench check' exits with 1 for them.

    Each p-value is of its check alone: unlike 'compare' (Holm), the gate does not correct for the number of checks,
    because a check also needs a drop beyond its limit to fail, and a missed regression costs more than a second look.
    """
    from fairbench.reporting.gate import gate_table, new_flags, regression
    from fairbench.reporting.gate import same as same_verdicts
    from fairbench.reporting.table_formats import plain, to_text
    from fairbench.runs import read_run
    from fairbench.threat import parse_number

    if same and (max_drop is not None or max_worst_drop is not None):
        raise click.UsageError("--same counts flips: give --max-flips, or leave out --same to use --max-drop.")
    if not same and max_flips is not None:
        raise click.UsageError("--max-flips belongs to --same; without --same give --max-drop and --max-worst-drop.")
    drop = 1.0 if max_drop is None else parse_number(max_drop, what="--max-drop", example="1.0")
    worst = 3.0 if max_worst_drop is None else parse_number(max_worst_drop, what="--max-worst-drop", example="3.0")
    flips = 0.005 if max_flips is None else parse_number(max_flips, what="--max-flips", example="0.005")
    new, old = read_run(run), read_run(baseline)
    result = same_verdicts(new, old, max_flips=flips) if same else regression(
        new, old, max_drop=drop, max_worst_drop=worst
    )  # fmt: skip
    click.echo(to_text(gate_table(result), 140))
    if result.not_compared:
        click.echo(plain(f"Not compared, in one of the runs only: {', '.join(result.not_compared)}."))
    click.echo(plain(result.sentence))
    flagged = new_flags(new, old)
    if flagged is not None:
        click.echo(plain(flagged))
    if not result.passed:
        raise click.exceptions.Exit(1)
