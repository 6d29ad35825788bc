"""`fairbench eval` in-process: what it prints and writes, its defaults, and every refusal in one sentence."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from fairbench import whole_file
from fairbench.cli import run
from fairbench.data import load_dataset, registry
from fairbench.data.dataset import to_unit
from fairbench.evaluation import units
from fairbench.models import build_model
from fairbench.models.checkpoint import save_checkpoint
from fairbench.runs import read_run

SIDECAR = {
    "architecture": "small-cnn", "num_classes": 10, "shape": [1, 8, 8], "normalize": "none", "dataset": "digits",
    "eps_text": "0.1", "norm": "Linf", "method": "natural", "seed": 0, "log": "digits.log.jsonl",
}  # fmt: skip


@pytest.fixture(scope="session")
def trained() -> nn.Module:
    """A small network that reads digits well after a few passes."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = build_model("small-cnn", num_classes=10, shape=(1, 8, 8))
        train = load_dataset("digits", "train")
        x, y = to_unit(train.pixels(range(len(train)))), torch.from_numpy(train.y)
        optimiser = torch.optim.Adam(model.parameters(), 3e-3)
        for _ in range(40):
            optimiser.zero_grad()
            nn.functional.cross_entropy(model(x), y).backward()
            optimiser.step()
    return model.eval()


@pytest.fixture
def checkpoint(trained, tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "digits.log.jsonl").write_text('{"epoch": 0}\n')
    return save_checkpoint(tmp_path / "digits.pt", trained, SIDECAR)


def evaluated(capsys, *arguments) -> tuple[int, str, str]:
    code = run(["eval", *(str(argument) for argument in arguments)])
    printed = capsys.readouterr()
    return code, printed.out, printed.err


def bad(capsys, *arguments, code=2) -> str:
    found, out, err = evaluated(capsys, *arguments)
    assert found == code, err
    sentences = [line for line in err.splitlines() if line.startswith("fairbench: ")]
    assert len(sentences) == 1
    assert len(sentences[0]) < 620
    assert "Traceback" not in err
    assert "Warning" not in err
    assert out == ""
    return sentences[0]


QUICK = ("--attacks", "fgsm,pgd5", "--samples-per-class", "5")


def test_a_run_from_the_sidecar_alone(checkpoint, capsys):
    code, out, err = evaluated(capsys, checkpoint, *QUICK)
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


def test_the_same_command_finds_its_run_and_another_has_its_own(checkpoint, capsys):
    _, first, _ = evaluated(capsys, checkpoint, *QUICK)
    code, again, err = evaluated(capsys, checkpoint, *QUICK)
    assert (code, again) == (0, first)
    assert "nothing is left to do" in err
    _, other, _ = evaluated(capsys, checkpoint, *QUICK, "--seed", "1")
    assert other.splitlines()[-1] != first.splitlines()[-1]
    _, accepted, _ = evaluated(capsys, checkpoint, *QUICK, "--accept", "low-accuracy")
    assert accepted.splitlines()[-1] == first.splitlines()[-1]


def test_a_folder_of_another_run_is_refused(checkpoint, capsys):
    evaluated(capsys, checkpoint, *QUICK, "--out", "run")
    assert "its seed is 0, but here it is 1" in bad(capsys, checkpoint, *QUICK, "--out", "run", "--seed", 1)


def test_a_checkpoint_without_sidecar_needs_a_model_and_a_data_set(checkpoint, capsys):
    checkpoint.with_suffix(".json").unlink()
    assert "--dataset" in bad(capsys, checkpoint, *QUICK)
    assert "--model" in bad(capsys, checkpoint, *QUICK, "--dataset", "digits")
    code, _, _ = evaluated(capsys, checkpoint, *QUICK, "--dataset", "digits", "--model", "small-cnn")
    assert code == 0


def test_own_architecture_and_own_arrays(checkpoint, capsys, tmp_path):
    test = load_dataset("digits").first_per_class(5)
    x = np.asarray(test.pixels(range(len(test)))).transpose(0, 2, 3, 1)
    np.savez(tmp_path / "mine.npz", x=x, y=test.y)
    (tmp_path / "net.py").write_text(
        "from fairbench.models import build_model\n"
        "def make():\n    return build_model('small-cnn', num_classes=10, shape=(1, 8, 8))\n"
    )
    checkpoint.with_suffix(".json").unlink()
    mine = (checkpoint, "--attacks", "fgsm", "--model", tmp_path / "net.py:make", "--dataset", "npz:mine.npz")
    assert "--eps" in bad(capsys, *mine)
    code, out, err = evaluated(capsys, *mine, "--eps", "0.1")
    assert code == 0, err
    assert Path(out.splitlines()[-1]).name.startswith("digits-mine-")


def test_a_preset_sets_the_radius_and_two_are_refused(checkpoint, capsys):
    few = (checkpoint, "--samples-per-class", 2, "--attacks")
    code, out, _ = evaluated(capsys, *few, "pgd10_2_255")
    assert code == 0
    assert read_run(Path(out.splitlines()[-1])).record["threat"]["eps_text"] == "8/255"
    assert "two radii" in bad(capsys, *few, "pgd10_2_255,pgd20_003_031")
    assert "fixes the radius" in bad(capsys, *few, "pgd10_2_255", "--eps", "0.1")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--attacks", "pdg20"), "Did you mean 'pgd20'"),
        (("--attacks", "pgd20(step=3)"), "Did you mean 'step_size'"),
        (("--attacks", "fgsm,fgsm"), "twice"),
        (("--attacks", ""), "--attacks is empty"),
        (("--eps", ""), "--eps is empty"),
        (("--eps", "8"), "8/255"),
        (("--eps", "nan"), "decimal or a fraction"),
        (("--eps", "-0.1"), "decimal or a fraction"),
        (("--norm", "l3"), "unknown norm"),
        (("--norm", "L2"), "no default radius"),
        (("--norm", "l1", "--eps", "1", "--attacks", "fgsm"), "the run's norm is L1"),
        (("--dataset", "cifar"), "Did you mean 'cifar10'"),
        (("--dataset", ""), "--dataset is empty"),
        (("--model", "smal-cnn"), "small-cnn"),
        (("--normalize", "cifra10"), "unknown normalisation"),
        (("--engine", "natvie"), "Did you mean 'native'"),
        (("--precision", "fp16"), "unknown precision"),
        (("--device", "cuda:77"), "device"),
        (("--samples-per-class", "0"), "samples-per-class"),
        (("--batch-size", "0"), "batch-size"),
        (("--threads", "0"), "threads"),
        (("--seed", "-1"), "seed"),
        (("--accept", "everything"), "unknown check"),
        (("--accept", "left-ball"), "cannot be accepted"),
        (("--accept", ""), "--accept is empty"),
        (("--resize", "4"), "resize"),
        (("--out", ""), "--out is empty"),
        (("--no-such-option",), "No such option"),
    ],
)
def test_bad_options(arguments, words, checkpoint, capsys):
    assert words in bad(capsys, checkpoint, *arguments)


def test_a_missing_checkpoint(tmp_path, capsys):
    assert "none.pt does not exist" in bad(capsys, tmp_path / "none.pt")
    assert "nothing.pt" in bad(capsys, tmp_path / "nothing.pt", "--dataset", "digits", "--model", "small-cnn")


def test_a_missing_data_set(checkpoint, capsys, tmp_path, monkeypatch):
    monkeypatch.delenv("FAIRBENCH_DATA", raising=False)
    assert "cifar10" in bad(capsys, checkpoint, "--dataset", "cifar10", "--data-dir", tmp_path / "empty")


def test_nan_weights(trained, checkpoint, capsys):
    state = {name: value.clone() for name, value in trained.state_dict().items()}
    next(iter(state.values())).view(-1)[0] = float("nan")
    torch.save(state, checkpoint)
    checkpoint.with_suffix(".json").unlink()
    assert "NaN" in bad(capsys, checkpoint, *QUICK, "--dataset", "digits", "--model", "small-cnn")


def test_a_class_count_that_does_not_match(checkpoint, capsys, tmp_path):
    rng = np.random.default_rng(0)
    np.savez(
        tmp_path / "five.npz", x=rng.integers(0, 256, (10, 8, 8), dtype=np.uint8), y=np.arange(10) % 5,
        class_names=np.array(list("abcde")),
    )  # fmt: skip
    assert "classes" in bad(capsys, checkpoint, "--dataset", "npz:five.npz", "--eps", "0.1")


def test_a_changed_file_does_not_match_its_sidecar(checkpoint, capsys):
    content = bytearray(checkpoint.read_bytes())
    content[len(content) // 2] ^= 1
    checkpoint.write_bytes(content)
    assert "sha256" in bad(capsys, checkpoint, *QUICK)


def test_a_text_file_is_called_no_checkpoint_before_anything_else_is_asked_for(tmp_path, capsys):
    (tmp_path / "notes.pt").write_text("to be done\n")
    assert "notes.pt is not a checkpoint: it begins with b'to be do'" in bad(capsys, tmp_path / "notes.pt")
    torch.jit.script(nn.Linear(2, 2)).save(str(tmp_path / "program.pt"))
    assert "--trust-program" in bad(capsys, tmp_path / "program.pt")


def test_a_truncated_file(checkpoint, capsys):
    checkpoint.write_bytes(checkpoint.read_bytes()[:1000])
    checkpoint.with_suffix(".json").unlink()
    bad(capsys, checkpoint, *QUICK, "--dataset", "digits", "--model", "small-cnn")


class Evil:
    def __reduce__(self):
        return (Path.touch, (Path("harmed"),))


def test_a_pickle_that_would_run_code_does_not(checkpoint, capsys):
    checkpoint.write_bytes(pickle.dumps(Evil()))
    checkpoint.with_suffix(".json").unlink()
    bad(capsys, checkpoint, *QUICK, "--dataset", "digits", "--model", "small-cnn")
    torch.save(Evil(), checkpoint)
    bad(capsys, checkpoint, *QUICK, "--dataset", "digits", "--model", "small-cnn")
    assert not Path("harmed").exists()


def test_an_output_folder_that_cannot_be_used(checkpoint, capsys, tmp_path):
    (tmp_path / "file").write_text("")
    assert "output folder" in bad(capsys, checkpoint, *QUICK, "--out", tmp_path / "file")
    assert "output folder" in bad(capsys, checkpoint, *QUICK, "--out", tmp_path / "file" / "below")
    assert "output folder" in bad(capsys, checkpoint, *QUICK, "--out", "/proc/nowhere")


def test_a_full_disk_is_74(checkpoint, capsys, monkeypatch):
    def full(handle):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(whole_file.os, "fsync", full)
    assert "No space left" in bad(capsys, checkpoint, *QUICK, code=74)


def test_ctrl_c_is_130_and_the_command_goes_on(checkpoint, capsys, monkeypatch):
    real = units.attack_function

    def interrupted(config, threat):
        def attack(*args, **options):
            raise KeyboardInterrupt

        return attack if config.name == "pgd5" else real(config, threat)

    with monkeypatch.context() as patch:
        patch.setattr(units, "attack_function", interrupted)
        assert "goes on" in bad(capsys, checkpoint, *QUICK, "--out", "run", code=130)
    assert (Path("run") / "blocks").is_dir()
    code, out, _ = evaluated(capsys, checkpoint, *QUICK, "--out", "run")
    assert code == 0
    assert out.splitlines()[-1] == "run"


def test_a_refusal_names_what_accepts_it(trained, checkpoint, capsys):
    """All classes moved on by one: the accuracy is near 0."""
    state = {key: value.clone() for key, value in trained.state_dict().items()}
    name = [key for key, value in state.items() if value.ndim == 2][-1]
    for key in (name, name.replace("weight", "bias")):
        state[key] = state[key].roll(1, 0)
    torch.save(state, checkpoint)
    checkpoint.with_suffix(".json").unlink()
    arguments = (checkpoint, *QUICK, "--dataset", "digits", "--model", "small-cnn")
    message = bad(capsys, *arguments)
    assert "another order" in message
    assert "--accept low-accuracy" in message
    code, out, _ = evaluated(capsys, *arguments, "--accept", "low-accuracy")
    assert code == 0
    assert "accepted low-accuracy" in out


def test_a_missing_normalisation_is_named(trained, checkpoint, capsys, monkeypatch):
    """First weights times 0.05: the network of someone who trained on x / 0.05 and kept the division outside."""
    spec = dataclasses.replace(registry.DATASETS["digits"], normalizations={"scaled": ((0.0,), (0.05,))})
    monkeypatch.setitem(registry.DATASETS, "digits", spec)
    state = {key: value.clone() for key, value in trained.state_dict().items()}
    first = next(key for key, value in state.items() if value.ndim == 4)
    state[first] *= 0.05
    torch.save(state, checkpoint)
    checkpoint.with_suffix(".json").unlink()
    arguments = (checkpoint, *QUICK, "--dataset", "digits", "--model", "small-cnn")
    assert "--normalize scaled, or --normalize none" in bad(capsys, *arguments)
    code, out, err = evaluated(capsys, *arguments, "--normalize", "0/0.05")
    assert code == 0, err
    assert read_run(Path(out.splitlines()[-1])).record["model"]["normalize"] == "0/0.05"
    code, out, _ = evaluated(capsys, *arguments, "--normalize", "none", "--accept", "low-accuracy")
    assert code == 0
    assert not [flag for flag in read_run(Path(out.splitlines()[-1])).record["flags"] if flag["name"] == "normalize"]
    code, out, _ = evaluated(capsys, *arguments, "--accept", "normalize", "--accept", "low-accuracy", "--out", "taken")
    assert code == 0
    assert "accepted normalize" in out


def test_json_outputs_are_strict(checkpoint, capsys):
    _, out, _ = evaluated(capsys, checkpoint, *QUICK)
    for name in ("run.json", "metrics.json"):
        json.loads((Path(out.splitlines()[-1]) / name).read_text(), parse_constant=pytest.fail)


def test_help_names_the_defaults(capsys):
    code, out, _ = evaluated(capsys, "--help")
    assert code == 0
    assert "fgsm,pgd20,cw30,aa" in out
