"""`fairbench diagnose` in-process: from a checkpoint, from runs, and every refusal in one sentence."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from fairbench.cli import run
from fairbench.reporting.report import write_report
from fairbench.runs import read_run

ROOT = Path(__file__).parents[2]


def diagnosed(capsys, *arguments) -> tuple[int, str, str]:
    code = run(["diagnose", *(str(argument) for argument in arguments)])
    printed = capsys.readouterr()
    return code, printed.out, printed.err


@pytest.fixture
def reports(tmp_path) -> Path:
    for name in ("digits-sat", "digits-trades"):
        shutil.copytree(ROOT / "reports" / name, tmp_path / name)
    return tmp_path


QUICK = ("--attacks", "fgsm,pgd3(restarts=2)", "--samples-per-class", "4", "--threads", "1", "--temperatures", "0.2,4")


def test_a_checkpoint(capsys, tmp_path):
    code, out, err = diagnosed(capsys, ROOT / "checkpoints" / "digits-sat.pt", *QUICK, "--out", tmp_path / "run")
    assert code == 0, err
    assert out.splitlines()[-1] == str(tmp_path / "run")
    assert "norm of its classifier weight" in out
    found = read_run(tmp_path / "run")
    assert list(found.record["attacks"]) == [
        "fgsm", "tpgd3(restarts=2,T=0.2)", "tpgd3(restarts=2,T=4)", "pgd3(restarts=2)",
    ]  # fmt: skip
    content = json.loads((tmp_path / "run" / "diagnosis.json").read_text(), parse_constant=pytest.fail)
    assert [one["temperature"] for one in content["temperatures"]] == [0.2, 4.0]
    assert content["temperatures"][0]["gain"]["weaker"] == "pgd3(restarts=2)"
    assert content["classifier"] == ""


def test_runs_are_read_and_ranked_against_each_other(capsys, reports):
    code, out, err = diagnosed(capsys, reports / "digits-sat", reports / "digits-trades")
    assert code == 0, err
    assert "Do the models rank the classes alike" in out
    assert str(reports / "digits-sat") in out.splitlines()
    assert (reports / "digits-trades" / "diagnosis.json").exists()


def test_superclasses_of_a_person_stay_with_the_run(capsys, reports, tmp_path):
    groups = tmp_path / "groups.json"
    groups.write_text(json.dumps({"loops": ["0", "6", "8", "9"], "lines": ["1", "2", "3", "4", "5", "7"]}))
    code, out, err = diagnosed(capsys, reports / "digits-sat", "--superclasses", groups)
    assert code == 0, err
    assert "stay within loops and lines" in out
    page = write_report([reports / "digits-sat"]).path.read_text()
    assert "stay within loops and lines" in page


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("digits-sat", "--eps", "0.1"), "--eps belongs to an evaluation"),
        (("digits-sat", "--temperatures", "3"), "--temperatures belongs to an evaluation"),
        (("digits-sat", "--superclasses", ""), "--superclasses is empty"),
        (("digits-sat", "--superclasses", "none.json"), "does not exist"),
        (("digits-sat", "digits-sat.pt"), "was given both"),
        (("a.pt", "b.pt"), "one checkpoint at a time"),
        (("a.pt",), "a.pt"),
        (("a.pt", "--attacks", "fgsm"), "needs a pgdN"),
        (("a.pt", "--temperatures", "warm"), "temperature"),
        (("digits-sat.pt", "--temperatures", "0"), "T of tpgd must lie"),
        ((), "Missing argument"),
    ],
)
def test_refusals(arguments, words, capsys, reports, monkeypatch):
    monkeypatch.chdir(reports)
    for suffix in (".pt", ".json"):
        shutil.copy(ROOT / "checkpoints" / f"digits-sat{suffix}", reports)
    code, out, err = diagnosed(capsys, *arguments)
    assert code == 2, err
    assert out == ""
    assert words in err
    assert "Traceback" not in err
