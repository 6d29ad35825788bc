from __future__ import annotations

import pytest

from fairbench.attacks import describe_attacks
from fairbench.cli import run
from fairbench.data import DATASETS
from fairbench.methods import METHODS
from fairbench.models import MODELS

EXPECTED = {
    "datasets": [*DATASETS, "npz:FILE", "npz:FOLDER", "folder:PATH"],
    "models": [*MODELS, "torchvision:resnet50", "FILE.py:factory", "module:factory"],
    "methods": list(METHODS),
    "attacks": [name for name, _ in describe_attacks()],
}


@pytest.mark.parametrize("columns", ["20", "200"])
@pytest.mark.parametrize("kind", list(EXPECTED))
def test_every_line_begins_with_a_name_and_has_a_description(
    kind: str, columns: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    assert run(["list", kind]) == 0
    out, err = capsys.readouterr()
    lines = out.splitlines()
    names = [line.split(" ")[0] for line in lines]
    assert set(EXPECTED[kind]) <= set(names)
    assert len(set(names)) == len(names)
    assert all(len(line.split(maxsplit=1)) == 2 for line in lines)
    assert err == ""


def test_another_kind_is_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["list", "model"]) == 2
    assert capsys.readouterr().err.count("\n") == 1
