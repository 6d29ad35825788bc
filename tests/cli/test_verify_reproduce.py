"""`fairbench verify` and `fairbench reproduce` in-process, on a committed checkpoint."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import pytest

from fairbench.cli import run
from fairbench.outcomes import Outcomes
from fairbench.runs import read_run, write_json

ROOT = Path(__file__).resolve().parent.parent.parent
SAT = str(ROOT / "checkpoints" / "digits-sat.pt")


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("made") / "run"
    command = [
        "eval",
        SAT,
        "--attacks",
        "fgsm,pgd5",
        "--samples-per-class",
        "4",
        "--threads",
        "1",
        "--batch-size",
        "16",
    ]
    assert run([*command, "--save-adversarial", "--out", str(folder)]) == 0
    return folder


@pytest.fixture
def folder(made, tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(ROOT)
    return Path(shutil.copytree(made, tmp_path / "run"))


def called(capsys, command, *arguments):
    capsys.readouterr()
    code = run([command, *(str(argument) for argument in arguments)])
    printed = capsys.readouterr()
    return code, printed.out, printed.err


def bad(capsys, command, *arguments) -> str:
    code, _, err = called(capsys, command, *arguments)
    assert code == 2, err
    sentences = [line for line in err.splitlines() if line.startswith("fairbench: ")]
    assert len(sentences) == 1
    assert len(sentences[0]) < 620
    assert "Traceback" not in err
    return sentences[0]


def flip(folder: Path) -> tuple[str, int, int, int]:
    """Turn one robust verdict of pgd5 into a broken one; return attack, index, label and the new prediction."""
    frame = read_run(folder).outcomes.frame
    rows = (frame["attack"] == "pgd5") & (frame["prediction"] == frame["label"])
    place = int(frame.index[rows][0])
    label = int(frame.loc[place, "label"])
    frame.loc[place, "prediction"] = (label + 1) % 10
    Outcomes(frame).write(folder / "outcomes.parquet")
    return "pgd5", int(frame.loc[place, "index"]), label, (label + 1) % 10


def change(folder: Path, *keys: str, value: object) -> None:
    record = json.loads((folder / "run.json").read_text())
    place = record
    for key in keys[:-1]:
        place = place[key]
    place[keys[-1]] = value
    write_json(folder / "run.json", record)


def test_a_run_is_verified_and_the_checkpoint_found_by_name_and_hash(folder, capsys):
    code, out, err = called(capsys, "verify", folder)
    assert code == 0, err
    assert "Verified: all 120 rows of run agree with its examples" in out
    broken = read_run(folder).outcomes
    adversarial = sum(int((broken.robust("natural") & ~broken.robust(attack)).sum()) for attack in ("fgsm", "pgd5"))
    assert f"of {adversarial} adversarial examples stay adversarial" in out


def test_a_checkpoint_that_is_elsewhere(folder, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for command in ("verify", "reproduce"):
        assert "--checkpoint PATH" in bad(capsys, command, folder)
        assert "is not the run's" in bad(capsys, command, folder, "--checkpoint", SAT.replace("-sat", "-trades"))
        assert "none.pt" in bad(capsys, command, folder, "--checkpoint", "none.pt")
        code, _, err = called(capsys, command, folder, "--checkpoint", SAT)
        assert code == 0, err
    # A file of the right name and another content is not taken.
    shutil.copy(SAT.replace("-sat", "-trades"), tmp_path / "digits-sat.pt")
    assert "--checkpoint PATH" in bad(capsys, "verify", folder)


def test_a_run_without_examples_says_so_before_it_asks_for_a_checkpoint(folder, capsys, tmp_path, monkeypatch):
    record = json.loads((folder / "run.json").read_text())
    del record["examples"]
    write_json(folder / "run.json", record)
    monkeypatch.chdir(tmp_path)
    assert "kept no adversarial examples; evaluate again with" in bad(capsys, "verify", folder)


def test_a_changed_table_is_listed_and_refused(folder, capsys):
    attack, index, label, prediction = flip(folder)
    code, out, err = called(capsys, "verify", folder)
    assert code == 2
    (line,) = (line for line in out.splitlines() if f"broken ({prediction})" in line)
    assert line.split() == [attack, str(index), str(label), "broken", f"({prediction})", "robust", f"({label})"]
    assert "does not match its examples: 1 of 120 rows differ" in err
    assert "Verified" not in out


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda found: found["attacks"]["pgd5"].__setitem__("average", 1.0),
            "attacks > pgd5 > average is 1.0 there, but",
        ),
        (lambda found: found["attacks"].pop("fgsm"), "attacks > fgsm is missing there"),
        (lambda found: found["attacks"].__setitem__("aa", {}), "attacks > aa is {} there, but the table gives missing"),
        (lambda found: found.__setitem__("attacks", []), "attacks is [] there"),
    ],
)
def test_metrics_that_do_not_follow_from_the_table_are_refused(change, words, folder, capsys):
    found = json.loads((folder / "metrics.json").read_text())
    change(found)
    write_json(folder / "metrics.json", found)
    assert words in bad(capsys, "verify", folder)


def test_another_rounding_of_the_metrics_is_the_same(folder, capsys):
    found = json.loads((folder / "metrics.json").read_text())
    found["attacks"]["pgd5"]["std"] = math.nextafter(found["attacks"]["pgd5"]["std"], 1)
    write_json(folder / "metrics.json", found)
    assert called(capsys, "verify", folder)[0] == 0


def test_changed_examples_are_refused(folder, capsys):
    path = sorted((folder / "examples").rglob("*.safetensors"))[0]
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))
    assert "was changed" in bad(capsys, "verify", folder)


@pytest.mark.parametrize("command", ["verify", "reproduce"])
@pytest.mark.parametrize(
    ("keys", "value", "words"),
    [
        (("model", "sha256"), "0" * 64, "--checkpoint PATH"),
        (("dataset", "sha256"), "0" * 64, "its content is"),
        (("dataset", "index_sha256"), "0" * 64, "choice of samples"),
        (("dataset", "selection"), "all", "number of samples"),
        (("dataset", "name"), None, "dataset.name"),
        (("dataset", "name"), "arrays", "npz:FILE"),
        (("threads",), "two", "threads"),
        (("attacks",), [], "attacks"),
    ],
)
def test_a_changed_record_is_refused(command, keys, value, words, folder, capsys):
    change(folder, *keys, value=value)
    assert words in bad(capsys, command, folder)


def test_a_radius_that_the_record_contradicts(folder, capsys):
    change(folder, "threat", "eps", value=0.2)
    assert "radius" in bad(capsys, "verify", folder)


def test_a_repetition_lists_the_verdict_that_flipped(folder, capsys, tmp_path):
    code, out, err = called(capsys, "reproduce", folder)
    assert code == 0, err
    assert out.splitlines()[-1] == "Reproduced: none of 120 verdicts over 3 attacks flipped."
    attack, index, label, prediction = flip(folder)
    code, out, _ = called(capsys, "reproduce", folder, "--out", tmp_path / "again")
    assert code == 0
    (line,) = (line for line in out.splitlines() if f"broken ({prediction})" in line)
    assert line.split() == [attack, str(index), str(label), "broken", f"({prediction})", "robust", f"({label})"]
    *_, sentence, last = out.splitlines()
    assert sentence.startswith("1 of 120 verdicts over 3 attacks flipped: 0 were robust only in the run, 1 only in")
    assert last == str(tmp_path / "again")
    assert run(["gate", last, "--baseline", str(folder), "--same", "--max-flips", "0"]) == 1
    assert "finished run" in bad(capsys, "reproduce", folder, "--out", tmp_path / "again")


@pytest.mark.parametrize(
    ("keys", "value", "words"),
    [
        (("protocol",), 0, "protocol version 0"),
        (("attacks", "pgd5", "step_size"), 0.05, "step_size=0.025 against 0.05"),
        (("seeds", "evaluation"), 7, "seed = '0' there, but '7' here"),
        (("precision",), "float16", "unknown precision"),
        (("accepted",), ["left-ball"], "cannot be accepted"),
        (("settings",), None, "settings"),
    ],
)
def test_what_cannot_be_repeated_is_refused(keys, value, words, folder, capsys):
    change(folder, *keys, value=value)
    assert words in bad(capsys, "reproduce", folder)


@pytest.mark.parametrize("command", ["verify", "reproduce"])
def test_bad_options(command, folder, capsys, tmp_path):
    for option in ("--checkpoint", "--dataset", "--data-dir", "--model"):
        assert f"{option} is empty" in bad(capsys, command, folder, option, "")
    assert "device" in bad(capsys, command, folder, "--device", "tpu")
    assert "does not exist" in bad(capsys, command, tmp_path / "none")


def test_runs_without_examples_or_by_another_hand(folder, capsys):
    assert "--save-adversarial" in bad(capsys, "verify", ROOT / "reports" / "digits-sat")
    shutil.rmtree(folder / "examples")
    assert "cannot be read" in bad(capsys, "verify", folder)
