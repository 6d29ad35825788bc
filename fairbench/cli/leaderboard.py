"""`fairbench leaderboard`: leaderboard.json and leaderboard.md from run folders; to and from RobustBench's format."""

from __future__ import annotations

from pathlib import Path

import click


class _Leaderboard(click.Group):
    """A group whose first word may also be a run folder: `leaderboard RUN... --out DIR` writes the leaderboard."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not args or (args[0] not in self.commands and args[0] not in ctx.help_option_names):
            args = ["write", *args]
        return super().parse_args(ctx, args)


def _named(out: str) -> Path:
    if not out.strip():
        raise click.UsageError("--out must name a folder, but is empty.")
    return Path(out)


@click.group(name="leaderboard", cls=_Leaderboard)
def command() -> None:
    """Compare many runs: `leaderboard RUN... --out DIR`, and RobustBench's format.

    A run folder called like a sub-command is written ./export.
    """


@command.command()
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="RUN...")
@click.option("--out", required=True, help="Folder for leaderboard.json and leaderboard.md.")
def write(runs: tuple[Path, ...], out: str) -> None:
    """Write leaderboard.json and leaderboard.md: the same runs give the same bytes.

    Runs on the same samples under the same threat are ranked by their worst class; the last line is the JSON file.
    """
    folder = _named(out)
    from fairbench.reporting.leaderboard import write_leaderboard

    table, page = write_leaderboard(runs, folder)
    click.echo(page)
    click.echo(table)


@command.command()
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="RUN...")
@click.option("--format", "form", type=click.Choice(["robustbench"]), default="robustbench", show_default=True)
@click.option("--out", required=True, help="Folder for <data set>/<norm>/<model>.json and the JSON Schema.")
@click.option(
    "--info",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    metavar="FILE",
    help="JSON with what a run does not know: link, name, authors, venue, architecture, reported, additional_data ...",
)
def export(runs: tuple[Path, ...], form: str, out: str, info: Path | None) -> None:
    """Write each run as RobustBench's model_info entry, with the classes under one key more.

    A run needs AutoAttack's standard version on the whole test split, at RobustBench's radius where it has the data
    set, and no raised flag. Prints the entries' files.
    """
    folder = _named(out)
    from fairbench.reporting.robustbench_export import export_robustbench

    assert form == "robustbench"
    for path in export_robustbench(runs, folder, info=info):
        click.echo(path)


@command.command(name="import")
@click.argument("model_info", type=click.Path(path_type=Path))
@click.argument("runs", nargs=-1, type=click.Path(path_type=Path), metavar="[RUN]...")
@click.option("--out", required=True, help="Folder for published.json and published.md.")
def import_(model_info: Path, runs: tuple[Path, ...], out: str) -> None:
    """Write what RobustBench publishes, average numbers, and put our runs of the same threat beside them.

    Published figures have no rank; a run has one where it could be exported.

    MODEL_INFO is the folder of that name in a checkout of RobustBench's repository; its PyPI package lacks it.
    """
    folder = _named(out)
    from fairbench.reporting.robustbench_import import import_robustbench

    table, page = import_robustbench(model_info, runs, folder)
    click.echo(page)
    click.echo(table)
