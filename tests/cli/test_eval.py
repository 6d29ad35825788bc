"""`fairbench eval` in-process: what it prints and writes, and its defaults."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from fairbench.data import load_dataset
from fairbench.runs import read_run


def test_a_run_from_the_sidecar_alone(checkpoint, quick, evaluated):
    code, out, err = evaluated(checkpoint, *quick)
    assert code == 0, err
    folder = Path(out.splitlines()[-1])
    assert folder.parent == Path("reports")
    assert folder.name.startswith("digits-digits-")
    assert sorted(path.name for path in folder.iterdir()) == [
        "classifier.json", "metrics.json", "outcomes.parquet", "run.json", "training.jsonl",
    ]  # fmt: skip
    assert "zero" in out or " 0 " in out
    assert "pgd5" in out
    record = read_run(folder).record
    assert record["threat"]["eps_text"] == "0.1"
    assert record["model"]["architecture"] == "small-cnn"
    assert record["model"]["method"] == "natural"
    assert record["dataset"]["selection"] == "first 5 of each class"
    assert record["flags"] == []


def test_a_run_says_how_its_checkpoint_was_trained(checkpoint, quick, evaluated):
    """What `compare` needs to tell several seeds of one method from several methods."""
    sidecar = checkpoint.with_suffix(".json")
    trained = {"slots": {"reweight": "frl"}, "hyper": {"steps": 7}, "recipe": {"epochs": 3}, "seed": 4}
    sidecar.write_text(json.dumps(json.loads(sidecar.read_text()) | trained))
    code, out, err = evaluated(checkpoint, *quick)
    assert code == 0, err
    model = read_run(Path(out.splitlines()[-1])).record["model"]
    assert {key: model[key] for key in trained} == trained


def test_the_same_command_finds_its_run_and_another_has_its_own(checkpoint, quick, evaluated):
    _, first, _ = evaluated(checkpoint, *quick)
    code, again, err = evaluated(checkpoint, *quick)
    assert (code, again) == (0, first)
    assert "nothing is left to do" in err
    _, other, _ = evaluated(checkpoint, *quick, "--seed", "1")
    assert other.splitlines()[-1] != first.splitlines()[-1]
    _, accepted, _ = evaluated(checkpoint, *quick, "--accept", "low-accuracy")
    assert accepted.splitlines()[-1] == first.splitlines()[-1]


def test_a_folder_of_another_run_is_refused(checkpoint, quick, evaluated, bad):
    evaluated(checkpoint, *quick, "--out", "run")
    assert "seed = 0 there, but 1 here" in bad(checkpoint, *quick, "--out", "run", "--seed", 1)


def test_a_checkpoint_without_sidecar_needs_a_model_and_a_data_set(checkpoint, quick, evaluated, bad):
    checkpoint.with_suffix(".json").unlink()
    assert "--dataset" in bad(checkpoint, *quick)
    assert "--model" in bad(checkpoint, *quick, "--dataset", "digits")
    code, _, _ = evaluated(checkpoint, *quick, "--dataset", "digits", "--model", "small-cnn")
    assert code == 0


def test_own_architecture_and_own_arrays(checkpoint, tmp_path, evaluated, bad):
    test = load_dataset("digits").first_per_class(5)
    x = np.asarray(test.pixels(range(len(test)))).transpose(0, 2, 3, 1)
    np.savez(tmp_path / "mine.npz", x=x, y=test.y)
    (tmp_path / "net.py").write_text(
        "from fairbench.models import build_model\n"
        "def make():\n    return build_model('small-cnn', num_classes=10, shape=(1, 8, 8))\n"
    )
    checkpoint.with_suffix(".json").unlink()
    mine = (checkpoint, "--attacks", "fgsm", "--model", tmp_path / "net.py:make", "--dataset", "npz:mine.npz")
    assert "--eps" in bad(*mine)
    code, out, err = evaluated(*mine, "--eps", "0.1")
    assert code == 0, err
    assert Path(out.splitlines()[-1]).name.startswith("digits-mine-")


def test_a_preset_sets_the_radius_and_two_are_refused(checkpoint, evaluated, bad):
    few = (checkpoint, "--samples-per-class", 2, "--attacks")
    code, out, _ = evaluated(*few, "pgd10_2_255")
    assert code == 0
    assert read_run(Path(out.splitlines()[-1])).record["threat"]["eps_text"] == "8/255"
    assert "two radii" in bad(*few, "pgd10_2_255,pgd20_003_031")
    assert "fixes the radius" in bad(*few, "pgd10_2_255", "--eps", "0.1")


def test_json_outputs_are_strict(checkpoint, quick, evaluated):
    _, out, _ = evaluated(checkpoint, *quick)
    for name in ("run.json", "metrics.json"):
        json.loads((Path(out.splitlines()[-1]) / name).read_text(), parse_constant=pytest.fail)


def test_help_names_the_defaults(evaluated):
    code, out, _ = evaluated("--help")
    assert code == 0
    assert "fgsm,pgd20,cw30,aa" in out
