from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from fairbench.errors import BadInput
from fairbench.metrics.summary import metrics_bytes
from fairbench.reporting.report import report_files, report_path, write_report
from fairbench.reporting.view import view_runs
from fairbench.runs import Run


class Said:
    """Progress that remembers its lines."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def start(self, name: str, total: float, done: float = 0) -> int:
        return 0

    def advance(self, bar: int, amount: float = 1) -> None:
        pass

    def finish(self, bar: int) -> None:
        pass

    def say(self, text: str) -> None:
        self.lines.append(text)


def test_metrics_are_rebuilt_byte_for_byte(ten: Callable[..., Run]) -> None:
    run = ten("a")
    assert run.folder is not None
    path, said = run.folder / "metrics.json", Said()
    write_report([run.folder], progress=said)
    first = path.read_bytes()
    assert first == metrics_bytes(run).encode()
    path.unlink()
    write_report([run.folder], progress=said)
    assert path.read_bytes() == first
    assert said.lines == [], "a missing file is nothing to talk about"
    path.write_bytes(first.replace(b'"average": 0.52', b'"average": 0.99', 1))
    write_report([run.folder], progress=said)
    assert path.read_bytes() == first
    assert said.lines == [f"{path} did not agree with the table beside it and was rebuilt."]


def test_a_report_is_one_page_with_plots_and_tables_beside_it(ten: Callable[..., Run], tmp_path: Path) -> None:
    folders = [run.folder for run in (ten("a", "first"), ten("b", "second", better=1)) if run.folder is not None]
    report = write_report(folders, tmp_path / "out" / "page.html")
    assert report.path == tmp_path / "out" / "page.html"
    assert report.path.read_text().startswith("<!DOCTYPE html>")
    stems = {"set1-comparison", "set1-class-by-run", "summary", "samples", "flags", "provenance", "provenance-by-run"}
    why = ("why", "correlations", "rankings", "gains", "superclasses")
    stems |= {"set1-rankings", *(f"{run}-{what}" for run in "ab" for what in ("classes", "confusion", *why))}
    found = {
        path.relative_to(report.path.parent).as_posix() for path in report.path.parent.rglob("*") if path.is_file()
    }
    assert found - {f"tables/{stem}.{kind}" for stem in stems for kind in ("csv", "md", "tex")} == {
        "page.html", "plots/set1-runs.svg", "plots/set1-trade-off.svg", "plots/set1-class-by-run.svg",
        *(f"plots/{run}-{what}.svg" for run in "ab" for what in ("classes", "attacks", "natural", "confusion")),
        "plots/a-graph.svg", "plots/b-graph.svg",
    }  # fmt: skip


def test_the_same_runs_give_the_same_bytes(ten: Callable[..., Run]) -> None:
    runs = [ten("a", "first"), ten("b", "second", better=1)]
    assert report_files(view_runs(runs)) == report_files(view_runs(runs))


def test_where_the_page_goes(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    (tmp_path / "folder.html").mkdir()
    assert report_path([one], None) == one / "report.html"
    assert report_path([one, two], None) == Path("report.html")
    assert report_path([one], tmp_path / "x.html") == tmp_path / "x.html"
    assert report_path([one], tmp_path / "x") == tmp_path / "x" / "report.html"
    assert report_path([one], tmp_path / "folder.html") == tmp_path / "folder.html" / "report.html"


def test_nothing_is_written_where_a_run_is_missing_or_given_twice(ten: Callable[..., Run], tmp_path: Path) -> None:
    run = ten("a")
    assert run.folder is not None
    with pytest.raises(BadInput, match="does not exist"):
        write_report([run.folder, tmp_path / "none"], tmp_path / "out")
    with pytest.raises(BadInput, match="given twice"):
        write_report([run.folder, run.folder / ".." / "a"], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_output_that_is_a_file_is_refused(ten: Callable[..., Run], tmp_path: Path) -> None:
    run = ten("a")
    (tmp_path / "taken").write_text("mine")
    assert run.folder is not None
    with pytest.raises(BadInput, match="cannot be used"):
        write_report([run.folder], tmp_path / "taken")
    assert (tmp_path / "taken").read_text() == "mine"


def test_a_report_needs_no_torch(ten: Callable[..., Run]) -> None:
    """In a fresh interpreter in which every import of torch fails."""
    run = ten("a")
    code = f"""
import sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "torchvision"):
            raise ImportError(f"{{name}} is blocked")
sys.meta_path.insert(0, Block())
from fairbench.cli import run
assert run(["report", {str(run.folder)!r}]) == 0
assert run(["gate", {str(run.folder)!r}, "--baseline", {str(run.folder)!r}, "--same"]) == 0
assert run(["diagnose", {str(run.folder)!r}]) == 0
assert run(["leaderboard", {str(run.folder)!r}, "--out", {str(run.folder)!r}]) == 0
assert "torch" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert run.folder is not None
    assert str(run.folder / "report.html") in done.stdout.splitlines()
