"""Weights do not say what a network does with them: edited code is another model."""

from __future__ import annotations

from pathlib import Path

import pytest

from fairbench.models.factory import build_from_factory

HELPER = "def flip(x):\n    return x.flip(3)\n"
NETWORK = """
import torch
import helper
from deep.layers import Last

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.last = Last()

    def forward(self, x):
        return self.last(helper.flip(x).flatten(1))

def build():
    return Net()
"""
LAYERS = "import torch\n\nclass Last(torch.nn.Linear):\n    def __init__(self):\n        super().__init__(4, 2)\n"


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "__init__.py").write_text("")
    (tmp_path / "deep" / "layers.py").write_text(LAYERS)
    (tmp_path / "helper.py").write_text(HELPER)
    (tmp_path / "net.py").write_text(NETWORK)
    return tmp_path


def digest(program: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    import sys

    for name in ("helper", "deep", "deep.layers"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return build_from_factory(f"{program}/net.py:build")[1]


@pytest.mark.parametrize(
    ("file", "edited"),
    [
        ("net.py", NETWORK.replace("flatten(1)", "flatten(1) * 2")),
        ("helper.py", HELPER.replace("flip(3)", "flip(2)")),
        ("deep/layers.py", LAYERS + "\n    def forward(self, x):\n        return -super().forward(x)\n"),
    ],
)
def test_every_file_of_a_persons_own_counts(program, file, edited, monkeypatch):
    before = digest(program, monkeypatch)
    assert before == digest(program, monkeypatch)
    (program / file).write_text(edited)
    after = digest(program, monkeypatch)
    assert after != before


def test_a_folder_may_move_and_strangers_do_not_count(program, tmp_path, monkeypatch):
    before = digest(program, monkeypatch)
    (program / "notes.py").write_text("x = 1\n")
    assert digest(program, monkeypatch) == before
    moved = program.rename(tmp_path.parent / f"{tmp_path.name}-moved")
    assert digest(moved, monkeypatch) == before
