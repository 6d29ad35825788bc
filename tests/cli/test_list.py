from __future__ import annotations

import pytest

from fairbench.attacks import describe_attacks, describe_presets
from fairbench.cli import run
from fairbench.data import DATASETS
from fairbench.methods import METHODS
from fairbench.models import MODELS

EXPECTED = {
    "datasets": [*DATASETS, "npz:FILE", "npz:FOLDER", "folder:PATH"],
    "models": [*MODELS, "torchvision:resnet50", "FILE.py:factory", "module:factory"],
    "methods": list(METHODS),
    "attacks": [name for name, _ in [*describe_attacks(), *describe_presets()]],
}


@pytest.mark.parametrize("columns", ["20", "200"])
@pytest.mark.parametrize("kind", list(EXPECTED))
def test_every_line_begins_with_a_name_and_has_a_description(
    kind: str, columns: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    assert run(["list", kind]) == 0
    out, err = capsys.readouterr()
    lines = [line for line in out.splitlines() if not line.startswith("# ")]
    names = [line.split(" ")[0] for line in lines]
    assert set(EXPECTED[kind]) <= set(names)
    assert len(set(names)) == len(names)
    assert all(len(line.split(maxsplit=1)) == 2 for line in lines)
    assert err == ""


def test_families_and_presets_of_attacks_stand_under_headings_of_their_own(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["list", "attacks"]) == 0
    lines = capsys.readouterr().out.splitlines()
    heads = [place for place, line in enumerate(lines) if line.startswith("# ")]
    assert [lines[place].split()[1].strip(",") for place in heads] == ["Attacks", "Presets"]
    assert heads[0] == 0
    assert lines[heads[1] - 1].startswith("aa ")
    assert lines[heads[1] + 1].startswith("pgd20_003 ")


def test_another_kind_is_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["list", "model"]) == 2
    assert capsys.readouterr().err.count("\n") == 1
