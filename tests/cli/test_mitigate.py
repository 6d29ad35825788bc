"""`fairbench mitigate` in-process: an adjusted checkpoint that loads anywhere, two runs, and the price."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from fairbench.cli import run
from fairbench.data import load_dataset
from fairbench.models.checkpoint import read_sidecar
from fairbench.models.load import load_checkpoint
from fairbench.runs import read_run

ROOT = Path(__file__).parents[2]
QUICK = ("--attacks", "pgd3", "--fit-attack", "pgd10", "--rounds", "4", "--samples-per-class", "5", "--threads", "1")


@pytest.fixture
def checkpoint(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for suffix in (".pt", ".json"):
        shutil.copy(ROOT / "checkpoints" / f"digits-natural{suffix}", tmp_path)
    return Path("digits-natural.pt")


def mitigated(capsys, *arguments) -> tuple[int, str, str]:
    code = run(["mitigate", *(str(argument) for argument in arguments)])
    printed = capsys.readouterr()
    return code, printed.out, printed.err


def test_the_whole_way(checkpoint, capsys):
    code, out, err = mitigated(capsys, checkpoint, *QUICK)
    assert code == 0, err
    adjusted = Path(out.splitlines()[-1])
    assert adjusted == Path("runs/digits-natural-adjusted/digits-natural-adjusted.pt")
    record = read_sidecar(adjusted)["adjustment"]
    assert len(record["offsets"]) == 10
    assert len(record["rounds_tried"]) == 5
    assert record["of"] == read_sidecar(checkpoint)["sha256"]
    # Fitted on the 100 validation images, and on no test image.
    assert record["validation_images"] == load_dataset("digits", "validation").index_sha256
    assert read_run(adjusted.parent / "after").record["dataset"]["split"] == "test"
    before, after = (read_run(adjusted.parent / name) for name in ("before", "after"))
    assert before.record["dataset"] == after.record["dataset"]
    assert before.record["model"]["sha256"] != after.record["model"]["sha256"]
    assert "warning: only 10 validation images in a class" in err
    assert "A before and B after" in out
    assert "worst class" in out
    # It is a checkpoint like any other, and the same command finds the same one.
    assert run(["eval", str(adjusted), "--attacks", "fgsm", "--samples-per-class", "2", "--threads", "1"]) == 0
    capsys.readouterr()
    code, again, _ = mitigated(capsys, checkpoint, *QUICK)
    assert (code, again) == (0, out)


def test_no_better_round_changes_nothing(checkpoint, capsys):
    code, out, _ = mitigated(capsys, checkpoint, *QUICK, "--rate", "100")
    assert code == 0
    assert "the checkpoint is as it was" in out
    # Not the same bytes: the committed weights are stored in float16.
    before, after = (load_checkpoint(path).model.state_dict() for path in (checkpoint, Path(out.splitlines()[-1])))
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_other_settings_in_the_same_folder_are_refused(checkpoint, capsys):
    assert mitigated(capsys, checkpoint, *QUICK)[0] == 0
    code, _, err = mitigated(capsys, checkpoint, *QUICK, "--seed", "3")
    assert code == 2
    assert "seed = 0 there, but 3 here" in err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("digits-natural.pt", "--objective", "mean"), "unknown objective"),
        (("digits-natural.pt", "--rate", "0"), "a rate above 0"),
        (("digits-natural.pt", "--rate", "fast"), "--rate"),
        (("digits-natural.pt", "--max-price", ""), "--max-price is empty"),
        (("digits-natural.pt", "--fit-attack", "aa"), "cascade"),
        (("digits-natural.pt", "--fit-attack", "pdg"), "unknown attack"),
        (("none.pt",), "none.pt"),
        (("digits-natural.pt", "--dataset", "npz:few.npz", "--eps", "0.1"), "few.npz"),
    ],
)
def test_refusals(arguments, words, checkpoint, capsys):
    code, out, err = mitigated(capsys, *arguments)
    assert code == 2, err
    assert out == ""
    assert words in err
    assert "Traceback" not in err


def test_the_sidecar_is_strict_json(checkpoint, capsys):
    code, out, _ = mitigated(capsys, checkpoint, *QUICK, "--max-price", "1")
    assert code == 0
    text = Path(out.splitlines()[-1]).with_suffix(".json").read_text()
    assert json.loads(text, parse_constant=pytest.fail)["adjustment"]["max_price"] == 1
