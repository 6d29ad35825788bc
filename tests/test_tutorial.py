"""The tutorial notebook: every cell runs, and what it shows is what it gives."""

from __future__ import annotations

import copy
import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOK = ROOT / "docs" / "tutorial.ipynb"


def shown(notebook) -> list[str]:
    """What the code cells show, as text."""
    return [
        output["text"] if output["output_type"] == "stream" else output["data"].get("text/plain", "")
        for cell in notebook.cells
        if cell.cell_type == "code"
        for output in cell.outputs
    ]


@pytest.mark.slow
def test_every_cell_of_the_tutorial_gives_what_it_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    import nbformat
    from nbclient import NotebookClient

    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    committed = nbformat.read(NOTEBOOK, as_version=4)
    again = NotebookClient(copy.deepcopy(committed), timeout=600, resources={"metadata": {"path": NOTEBOOK.parent}})
    assert shown(again.execute()) == shown(committed)
    assert len(shown(committed)) >= 5
