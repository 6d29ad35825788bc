"""`fairbench report`: one HTML file for one or several runs, with plots and tables beside it."""

from __future__ import annotations

from pathlib import Path

import click


@click.command(name="report")
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="RUN...")
@click.option(
    "--out",
    help="HTML file, or a folder for report.html. Default: in the run's folder; in the current one for several runs.",
)
def command(runs: tuple[Path, ...], out: str | None) -> None:
    """Write one self-contained HTML report of run folders; plots/*.svg and tables/*.csv, *.md, *.tex lie beside it.

    Each run's metrics.json is rebuilt from its table. The last line printed is the path of the HTML file.
    """
    if out is not None and not out.strip():
        raise click.UsageError("--out must name an HTML file or a folder, but is empty.")
    from fairbench.progress import Bars
    from fairbench.reporting.report import write_report
    from fairbench.reporting.table_formats import to_text
    from fairbench.reporting.tables import summary_table

    with Bars() as progress:
        report = write_report(runs, None if out is None else Path(out), progress=progress)
    click.echo(to_text(summary_table(report.sets), _width()))
    click.echo(report.path)


def _width() -> int:
    import shutil

    return max(80, shutil.get_terminal_size((140, 24)).columns)
