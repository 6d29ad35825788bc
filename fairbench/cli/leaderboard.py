"""`fairbench leaderboard`: leaderboard.json and leaderboard.md from run folders."""

from __future__ import annotations

from pathlib import Path

import click


@click.command(name="leaderboard")
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="RUN...")
@click.option("--out", required=True, help="Folder for leaderboard.json and leaderboard.md.")
def command(runs: tuple[Path, ...], out: str) -> None:
    """Write leaderboard.json and leaderboard.md: the same runs give the same bytes.

    Runs on the same samples under the same threat are ranked by their worst class; the last line is the JSON file.
    """
    if not out.strip():
        raise click.UsageError("--out must name a folder, but is empty.")
    from fairbench.reporting.leaderboard import write_leaderboard

    table, page = write_leaderboard(runs, Path(out))
    click.echo(page)
    click.echo(table)
