"""`fairbench eval` with files that are missing, damaged, hostile or do not fit: one sentence each."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from fairbench.cli import run


def test_a_missing_checkpoint(tmp_path, bad):
    assert "none.pt does not exist" in bad(tmp_path / "none.pt")
    assert "nothing.pt" in bad(tmp_path / "nothing.pt", "--dataset", "digits", "--model", "small-cnn")


@pytest.mark.parametrize("said_by", ["--data-dir", "FAIRBENCH_DATA", "nobody"])
def test_a_missing_data_set(said_by, checkpoint, tmp_path, monkeypatch, bad):
    """Which file, where it was looked for, how to get it there, and how to say that it lies elsewhere."""
    monkeypatch.delenv("FAIRBENCH_DATA", raising=False)
    checkpoint.with_suffix(".json").unlink()  # it would say that the network is one of digits
    root = "data" if said_by == "nobody" else str(tmp_path / "empty")
    if said_by == "FAIRBENCH_DATA":
        monkeypatch.setenv("FAIRBENCH_DATA", root)
    elsewhere = ("--data-dir", root) if said_by == "--data-dir" else ()
    message = bad(checkpoint, "--dataset", "cifar10", *elsewhere)
    assert f"cifar10 needs cifar-10-batches-py/test_batch, which is neither in {root} nor in {root}/cifar10;" in message
    how = f"import torchvision; torchvision.datasets.CIFAR10('{root}', download=True)"
    assert f'to get it: python -c "{how}"; ' in message
    assert message.endswith("or say with --data-dir or FAIRBENCH_DATA where it lies.")


def test_nan_weights(trained, checkpoint, quick, bad):
    state = {name: value.clone() for name, value in trained.state_dict().items()}
    next(iter(state.values())).view(-1)[0] = float("nan")
    torch.save(state, checkpoint)
    checkpoint.with_suffix(".json").unlink()
    assert "NaN" in bad(checkpoint, *quick, "--dataset", "digits", "--model", "small-cnn")


def test_a_class_count_that_does_not_match(checkpoint, tmp_path, bad):
    rng = np.random.default_rng(0)
    np.savez(
        tmp_path / "five.npz", x=rng.integers(0, 256, (10, 8, 8), dtype=np.uint8), y=np.arange(10) % 5,
        class_names=np.array(list("abcde")),
    )  # fmt: skip
    assert "classes" in bad(checkpoint, "--dataset", "npz:five.npz", "--eps", "0.1")


def test_a_changed_file_does_not_match_its_sidecar(checkpoint, quick, bad):
    content = bytearray(checkpoint.read_bytes())
    content[len(content) // 2] ^= 1
    checkpoint.write_bytes(content)
    assert "sha256" in bad(checkpoint, *quick)


def test_a_text_file_is_called_no_checkpoint_before_anything_else_is_asked_for(tmp_path, bad):
    (tmp_path / "notes.pt").write_text("to be done\n")
    assert "notes.pt is not a checkpoint: it begins with b'to be do'" in bad(tmp_path / "notes.pt")
    torch.jit.script(torch.nn.Linear(2, 2)).save(str(tmp_path / "program.pt"))
    assert "--trust-program" in bad(tmp_path / "program.pt")


def test_a_truncated_file(checkpoint, quick, bad):
    checkpoint.write_bytes(checkpoint.read_bytes()[:1000])
    checkpoint.with_suffix(".json").unlink()
    message = bad(checkpoint, *quick, "--dataset", "digits", "--model", "small-cnn")
    assert "digits.pt is truncated or damaged" in message
    assert message.endswith("get it again.")


class Evil:
    def __reduce__(self):
        return (Path.touch, (Path("harmed"),))


def test_a_pickle_that_would_run_code_does_not(checkpoint, quick, bad):
    checkpoint.write_bytes(pickle.dumps(Evil()))
    checkpoint.with_suffix(".json").unlink()
    bad(checkpoint, *quick, "--dataset", "digits", "--model", "small-cnn")
    torch.save(Evil(), checkpoint)
    message = bad(checkpoint, *quick, "--dataset", "digits", "--model", "small-cnn")
    assert "holds Python objects (getattr), which can run code when unpickled, so it was not loaded" in message
    assert not Path("harmed").exists()


def test_an_edited_program_is_another_model(trained, checkpoint, quick, evaluated, bad, capsys):
    """The same weights and the same command; the numbers of the old code are not given out as the new one's."""
    program = """
import torch
from fairbench.models import build_model

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.net = build_model("small-cnn", num_classes=10, shape=(1, 8, 8))

    def forward(self, x):
        return self.net({pixels})

def build():
    return Net()

def other():
    return Net()
"""
    torch.save({f"net.{name}": value for name, value in trained.state_dict().items()}, "own.pt")
    shared = ("own.pt", *quick, "--dataset", "digits", "--out", "run")
    Path("net.py").write_text(program.format(pixels="x"))
    assert evaluated(*shared, "--model", "net.py:build")[0] == 0
    assert evaluated(*shared, "--model", "net.py:build")[0] == 0
    assert "another run: --model = net.py:build there, but net.py:other" in bad(*shared, "--model", "net.py:other")
    Path("net.py").write_text(program.format(pixels="x.flip(3)"))
    assert "holds another run: the code behind --model = " in bad(*shared, "--model", "net.py:build")
    assert run(["reproduce", "run", "--checkpoint", "own.pt", "--model", "net.py:build"]) == 2
    assert "the code of net.py:build is not the run's" in capsys.readouterr().err
    assert run(["reproduce", "run", "--checkpoint", "own.pt", "--model", "net.py:other"]) == 2
    assert "the run's network is net.py:build, but --model gave net.py:other" in capsys.readouterr().err
