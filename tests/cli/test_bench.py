"""`fairbench bench`: one sentence for every mistake; a whole small benchmark, which resumes and survives a failure."""

from __future__ import annotations

import json

import pytest

from fairbench.cli import run

TINY = [
    "--suite",
    "digits-small",
    "--epochs",
    "6",
    "--samples-per-class",
    "60",
    "--test-per-class",
    "10",
    "--jobs",
    "2",
]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--suite", "mnist"], "unknown suite 'mnist'. Did you mean 'mnist-small'?"),
        (["--suite", "digits-small", "--methods", "abls"], "unknown method of suite digits-small: 'abls'."),
        (["--suite", "digits-small", "--methods", ""], "--methods must not be empty"),
        (
            ["--suite", "digits-small", "--seeds", "0"],
            "--seeds must be a whole number of at least 1 and at most 1000, but is '0'",
        ),
        (["--suite", "digits-small", "--out", ""], "--out must not be empty"),
        (["--suite", "digits-small", "--device", "gpu"], "gpu"),
        ([], "Missing option '--suite'"),
    ],
)
def test_mistakes_are_one_sentence(arguments, sentence, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run(["bench", *arguments]) == 2
    captured = capsys.readouterr()
    assert sentence in captured.err
    assert captured.out == ""
    assert "Traceback" not in captured.err
    assert list(tmp_path.rglob("*.pt")) == []


@pytest.mark.slow
def test_a_small_benchmark_resumes_grows_and_survives_a_failure(tmp_path, capsys):
    out = ["--out", str(tmp_path / "b")]
    assert run(["bench", *TINY, *out, "--methods", "natural,absld", "--seeds", "1"]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed == [str(tmp_path / "b" / "leaderboard.md"), str(tmp_path / "b" / "leaderboard.json")]
    first = json.loads((tmp_path / "b" / "leaderboard.json").read_text())
    assert {entry["name"] for entry in first["entries"]} == {"natural", "sat", "absld"}
    costs = {entry["name"]: entry["seeds"][0]["cost"] for entry in first["entries"]}
    # 600 images, 6 epochs: SAT passes each 11 times, ABSLD 12, and ABSLD's teacher sees each once.
    assert costs["natural"]["forwards"] == 600 * 6
    assert costs["sat"]["forwards"] == costs["sat"]["backwards"] == 600 * 6 * 11
    assert (costs["absld"]["forwards"], costs["absld"]["teacher_forwards"]) == (600 * 6 * 12, 600 * 6)
    assert run(["bench", *TINY, *out, "--methods", "natural,absld", "--seeds", "1"]) == 0
    assert "4 trainings, 4 of them finished already" in capsys.readouterr().err
    assert json.loads((tmp_path / "b" / "leaderboard.json").read_text()) == first

    # A second seed, whose place is taken by a file: that training fails, the others do not.
    (tmp_path / "b" / "checkpoints" / "sat-1").write_text("in the way")
    assert run(["bench", *TINY, *out, "--methods", "natural", "--seeds", "2"]) == 2
    second = json.loads((tmp_path / "b" / "leaderboard.json").read_text())
    missing = {entry["name"]: entry["missing"] for entry in second["entries"]}
    assert missing["natural"] == {}
    assert "cannot be used: it is a file" in missing["sat"]["1"]
    assert run(["bench", *TINY[:2], *out, "--seeds", "1"]) == 2
    assert "other settings: samples_per_class is 60 there" in capsys.readouterr().err
