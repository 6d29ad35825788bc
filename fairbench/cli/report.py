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
@click.option("--removed", metavar="RUN", help="The removal experiment: a run trained with 'train --drop-classes'.")
@click.option("--control", metavar="RUN", help="Its control: a run trained with 'train --drop-control'.")
def command(runs: tuple[Path, ...], out: str | None, removed: str | None, control: str | None) -> None:
    """Write one self-contained HTML report of run folders; plots/*.svg and tables/*.csv, *.md, *.tex lie beside it.

    Each run's metrics.json is rebuilt from its table. With --removed and --control the report of one RUN tells what
    becomes of its broken samples when the class they went to is gone. The last line printed is the path of the HTML
    file.
    """
    for name, value in {"removed": removed, "control": control}.items():
        if value == "":
            raise click.UsageError(f"--{name} is empty; leave it out where there is none.")
    if out is not None and not out.strip():
        raise click.UsageError("--out must name an HTML file or a folder, but is empty.")
    from fairbench.progress import Bars
    from fairbench.reporting.report import write_report
    from fairbench.reporting.table_formats import to_text
    from fairbench.reporting.tables import summary_table

    with Bars() as progress:
        report = write_report(
            runs, None if out is None else Path(out), progress=progress, removed=_path(removed), control=_path(control)
        )
    click.echo(to_text(summary_table(report.sets), _width()))
    click.echo(report.path)


def _width() -> int:
    import shutil

    return max(80, shutil.get_terminal_size((140, 24)).columns)


def _path(text: str | None) -> Path | None:
    return None if text is None else Path(text)
