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
    story = ("--removed", "without-run", "--control", "control-run")
    code, _, err = ran(capsys, "report", "full-run", *story, "--out", "removal.html")
    assert code == 0, err
    page = Path("removal.html").read_text()
    assert "What if the class they went to were gone?" in page
    assert out.splitlines()[-1] in " ".join(page.split())
    assert Path("tables/removal.csv").exists()
    for wrong in (("report", "full-run", "without-run", *story), ("report", "full-run", *story[2:])):
        code, _, err = ran(capsys, *wrong)
        assert code == 2
        assert "takes one full run" in err
    assert ran(capsys, "report", "full-run", "--removed", "full-run")[0] == 2
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


def test_a_control_drops_other_classes_drawn_at_random(tmp_path, capsys, monkeypatch):
    """As many, never those named, the same for the same draw, and spread evenly over draws."""
    from fairbench.data import load_dataset
    from fairbench.data.dropped import control_classes

    digits = load_dataset("digits")
    draws = [control_classes(digits, ("1", "9"), draw) for draw in range(400)]
    assert all(len(set(draw)) == 2 and not {"1", "9"} & set(draw) for draw in draws)
    assert draws[:20] == [control_classes(digits, ("1", "9"), draw) for draw in range(20)]
    # Each of 8 others in a quarter of 400 draws: 100, with a standard deviation of 8.7.
    counts = [sum(name in draw for draw in draws) for name in "02345678"]
    assert sum(counts) == 800
    assert all(65 < count < 135 for count in counts)

    monkeypatch.chdir(tmp_path)
    path = trained(capsys, "control", "--drop-control", "1,9")
    told = json.loads(path.with_suffix(".json").read_text())
    assert (told["dropped_classes"], told["control_of"]) == (list(draws[0]), ["1", "9"])
    assert len(told["kept_classes"]) == 8
    code, _, err = ran(capsys, "eval", path, "--attacks", "fgsm", "--samples-per-class", "2", "--out", "run")
    assert code == 0, err
    assert json.loads(Path("run/run.json").read_text())["model"]["control_of"] == ["1", "9"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--drop-control", "cat"), "unknown class"),
        (("--drop-control", "1,1"), "--drop-control names a class twice"),
        (("--drop-control", "0,1,2,3,4,5"), "as many others, but there are 4"),
        (("--drop-control", "1", "--drop-classes", "2"), "leave --drop-classes out"),
        (("--control-draw", "1", "--drop-classes", "2"), "--drop-control NAME"),
    ],
)
def test_bad_controls(options, words, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(Training, "run", pytest.fail)
    code, _, err = ran(capsys, "train", "--dataset", "digits", "--method", "natural", "--out", tmp_path, *options)
    assert code == 2
    assert words in err
