"""A report on disk: report.html, with plots/*.svg and tables/*.csv, *.md, *.tex beside it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from fairbench.errors import BadInput
from fairbench.metrics.removal import removal
from fairbench.progress import Progress, Silent
from fairbench.reporting.html import render
from fairbench.reporting.page import RemovalStory, build_page
from fairbench.reporting.table_formats import to_csv, to_latex, to_markdown
from fairbench.reporting.tables import summary_table
from fairbench.reporting.tables_removal import removal_sentence, removal_table
from fairbench.reporting.view import RunView, SampleSet, view_runs
from fairbench.runs import Run, read_run
from fairbench.whole_file import writable_folder, write_whole

_SUFFIXES = (".html", ".htm")


@dataclass(frozen=True)
class Report:
    """A written report: its HTML file and the runs in it."""

    path: Path
    sets: tuple[SampleSet, ...]


def write_report(
    folders: Iterable[Path],
    out: Path | None = None,
    *,
    progress: Progress | None = None,
    removed: Path | None = None,
    control: Path | None = None,
) -> Report:
    """Write the report of several run folders.

    Args:
        folders: run folders; each one's metrics.json is rebuilt from its table.
        out: an HTML file, or a folder that will hold report.html. None: report.html in the folder of a single run, in
            the current folder for several.
        progress: where a line about a metrics.json that had to be repaired goes.
        removed: the run of a network trained without some classes: the report of the one full run tells what became
            of the samples that went there.
        control: beside it, the run of a network trained without others.

    Raises:
        BadInput: a folder without a finished run, a run given twice, an output that cannot be written, or a removal
            experiment without exactly one full run.
        WriteFailed: a later write failed.
    """
    paths = list(dict.fromkeys(Path(folder) for folder in folders))
    if len({path.resolve() for path in paths}) < len(paths):
        raise BadInput("the same run folder was given twice; a report needs each run once.")
    target = report_path(paths, out)
    runs = [read_run(path) for path in paths]
    story = _removal(runs, removed, control)
    writable_folder(target.parent)
    sets = view_runs(runs)
    for sample_set in sets:
        for view in sample_set.views:
            rebuild_metrics(view, progress or Silent())
    for name, text in report_files(sets, story).items():
        write_whole(target if name == "report.html" else target.parent / name, text, durable=False)
    return Report(target, sets)


def report_path(folders: Sequence[Path], out: Path | None) -> Path:
    """Return where the HTML file goes; see `write_report`."""
    if out is None:
        return folders[0] / "report.html" if len(folders) == 1 else Path("report.html")
    out = Path(out)
    if out.suffix.lower() in _SUFFIXES and not out.is_dir():
        return out
    return out / "report.html"


def _removal(runs: Sequence[Run], removed: Path | None, control: Path | None) -> RemovalStory | None:
    if removed is None and control is None:
        return None
    if removed is None or len(runs) != 1:
        raise BadInput("the removal experiment takes one full run, --removed RUN, and --control RUN beside it.")
    (full,) = runs
    found = removal(full, read_run(removed), None if control is None else read_run(control))
    return RemovalStory(removal_sentence(found, full.class_names), removal_table(found, full.class_names))


def report_files(sets: Sequence[SampleSet], story: RemovalStory | None = None) -> dict[str, str]:
    """Return every file of a report as {path: text}; the same runs give the same bytes."""
    page = build_page(sets, story)
    files = {"report.html": render(page)}
    summary = summary_table(sets)
    for plot in page.plots:
        files[f"plots/{plot.key}.svg"] = plot.svg
    for table in [summary, *page.tables]:
        files[f"tables/{table.name}.csv"] = to_csv(table)
        files[f"tables/{table.name}.md"] = to_markdown(table)
        files[f"tables/{table.name}.tex"] = to_latex(table)
    return files


def rebuild_metrics(view: RunView, progress: Progress) -> None:
    """Write a run folder's metrics.json from its table, where it is missing or says something else."""
    if view.run.folder is None:
        return
    path = view.run.folder / "metrics.json"
    found = path.read_bytes() if path.is_file() else None
    if found == view.metrics_json.encode():
        return
    if found is not None:
        progress.say(f"{path} did not agree with the table beside it and was rebuilt.")
    write_whole(path, view.metrics_json)
