"""The removal experiment from the command line: train without classes, evaluate, lay side by side."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fairbench.cli import run
from fairbench.models.checkpoint import read_sidecar
from fairbench.runs import read_run
from fairbench.training.loop import Training

EVAL = ("--attacks", "pgd10", "--threads", "1", "--samples-per-class", "10")


def ran(capsys, *arguments) -> tuple[int, str, str]:
    code = run([str(argument) for argument in arguments])
    printed = capsys.readouterr()
    return code, printed.out, printed.err


def trained(capsys, out, *options) -> Path:
    code, printed, err = ran(
        capsys, "train", "--dataset", "digits", "--method", "natural", "--epochs", "8", "--out", out, *options
    )
    assert code == 0, err
    return Path(printed.splitlines()[-1])


def test_the_whole_way(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, options in (
        ("full", ()),
        ("without", ("--drop-classes", "1, 9")),
        ("control", ("--drop-classes", "0,6")),
    ):
        checkpoint = trained(capsys, name, *options)
        code, _, err = ran(capsys, "eval", checkpoint, *EVAL, "--out", f"{name}-run")
        assert code == 0, err
    sidecar = read_sidecar(Path("without/digits-natural.pt"))
    assert sidecar["num_classes"] == 8
    assert sidecar["class_names"] == ["0", "2", "3", "4", "5", "6", "7", "8"]
    assert sidecar["kept_classes"] == [0, 2, 3, 4, 5, 6, 7, 8]
    full, without = read_run(Path("full-run")), read_run(Path("without-run"))
    assert without.num_classes == 10
    assert without.class_names == full.class_names
    rows, kept = full.outcomes.of("natural"), without.outcomes.of("natural")
    wanted = rows[~rows["label"].isin([1, 9])]
    assert kept["index"].tolist() == wanted["index"].tolist()
    assert kept["label"].tolist() == wanted["label"].tolist()
    assert not without.outcomes.frame["prediction"].isin([1, 9]).any()
    norms = json.loads(Path("without-run/classifier.json").read_text())["weight_norm"]
    assert [c for c, norm in enumerate(norms) if norm is None] == [1, 9]
    assert ran(capsys, "diagnose", "without-run")[0] == 0
    assert ran(capsys, "report", "without-run")[0] == 0
    code, out, err = ran(capsys, "diagnose", "full-run", "--removed", "without-run", "--control", "control-run")
    assert code == 0, err
    assert "Removal of “1” and “9”" in out
    assert "pgd10 sent to “1” and “9”" in out
    # The same command finds the same checkpoint; other classes are another training.
    assert trained(capsys, "without", "--drop-classes", "1,9").exists()
    code, _, err = ran(
        capsys, "train", "--dataset", "digits", "--method", "natural", "--epochs", "8", "--out", "without",
        "--drop-classes", "1",
    )  # fmt: skip
    assert code == 2
    assert "classes" in err


@pytest.mark.parametrize(("names", "words"), [("cat", "unknown class"), ("1,1", "twice"), ("", "must not be empty")])
def test_bad_names(names, words, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(Training, "run", pytest.fail)
    code, _, err = ran(
        capsys, "train", "--dataset", "digits", "--method", "natural", "--out", tmp_path, "--drop-classes", names
    )
    assert code == 2
    assert words in err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("a.pt", "--removed", "x"), "finished runs"),
        (("folder", "--control", "x"), "--removed RUN"),
    ],
)
def test_refusals_of_the_report(arguments, words, tmp_path, capsys, monkeypatch):
    import shutil

    monkeypatch.chdir(tmp_path)
    shutil.copytree(Path(__file__).parents[2] / "reports" / "digits-sat", tmp_path / "folder")
    code, _, err = ran(capsys, "diagnose", *arguments)
    assert code == 2
    assert words in err
