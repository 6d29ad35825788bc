from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from fairbench import whole_file
from fairbench.errors import BadInput, WriteFailed
from fairbench.models import checkpoint as module
from fairbench.models import normalized
from fairbench.models.checkpoint import read_sidecar, save_checkpoint, sidecar_path, verified_sidecar
from fairbench.models.load import load_checkpoint

SIDECAR = {"architecture": "small-cnn", "num_classes": 10, "shape": [1, 8, 8], "normalize": "none", "dataset": "digits"}


@pytest.mark.parametrize("name", ["a.pt", "a.pth", "a.safetensors", "a.b.pt"])
def test_weights_come_back_bit_for_bit(tmp_path: Path, small: nn.Module, name: str) -> None:
    path = save_checkpoint(tmp_path / name, small, SIDECAR)
    loaded = load_checkpoint(path)
    state = loaded.model.state_dict()
    assert list(state) == list(small.state_dict())
    assert all(torch.equal(state[key], value) for key, value in small.state_dict().items())
    assert loaded.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert loaded.name == path.stem
    assert not loaded.model.training
    assert loaded.sidecar is not None
    assert loaded.sidecar["schema"] == 1
    assert loaded.sidecar["fairbench"]
    assert {key: loaded.sidecar[key] for key in SIDECAR} == SIDECAR


def test_the_file_is_weights_only_and_without_the_normalisation(tmp_path: Path) -> None:
    from fairbench.models import build_model

    model = build_model("small-cnn", num_classes=3, shape=(3, 16, 16), normalize="cifar10")
    path = save_checkpoint(
        tmp_path / "a.pt",
        model,
        {"architecture": "small-cnn", "num_classes": 3, "shape": [3, 16, 16], "normalize": "cifar10"},
    )
    state = torch.load(path, weights_only=True)
    assert "conv1.weight" in state
    loaded = load_checkpoint(path)
    assert loaded.normalize == "cifar10"
    x = torch.rand(2, 3, 16, 16)
    assert torch.equal(loaded.model(x), model(x))


def test_equal_weights_are_equal_bytes(tmp_path: Path, small: nn.Module) -> None:
    first, second = (save_checkpoint(tmp_path / name, small, SIDECAR).read_bytes() for name in ("a.pt", "b.pt"))
    assert first == second


def test_another_ending_is_refused(tmp_path: Path, small: nn.Module) -> None:
    with pytest.raises(BadInput, match=r"\.safetensors, but is 'a\.ckpt'"):
        save_checkpoint(tmp_path / "a.ckpt", small, SIDECAR)


def test_a_file_that_does_not_match_its_sidecar_is_refused_before_it_is_parsed(
    tmp_path: Path, small: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save_checkpoint(tmp_path / "a.pt", small, SIDECAR)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    monkeypatch.setattr(torch, "load", lambda *args, **kwargs: pytest.fail("parsed"))
    with pytest.raises(BadInput, match="does not match its sidecar"):
        load_checkpoint(path)
    assert read_sidecar(path) is not None


@pytest.mark.parametrize("steps_before_the_kill", [0, 1, 2])
def test_a_kill_between_the_writes_leaves_one_complete_pair(
    tmp_path: Path, small: nn.Module, monkeypatch: pytest.MonkeyPatch, steps_before_the_kill: int
) -> None:
    """Renames: the waiting sidecar, the weights, the sidecar. Before the second the old pair holds, then the new."""
    path = save_checkpoint(tmp_path / "a.pt", small, {**SIDECAR, "seed": 1})
    old = path.read_bytes()
    renames = 0
    rename = Path.replace

    def killed(self: Path, target: Path) -> Path:
        nonlocal renames
        if renames == steps_before_the_kill:
            raise KeyboardInterrupt
        renames += 1
        return rename(self, target)

    monkeypatch.setattr(Path, "replace", killed)
    with torch.no_grad():
        next(small.parameters()).add_(1.0)
    with pytest.raises(KeyboardInterrupt):
        save_checkpoint(path, small, {**SIDECAR, "seed": 2})
    monkeypatch.undo()
    sidecar = load_checkpoint(path).sidecar
    assert sidecar is not None
    assert (sidecar["seed"], path.read_bytes() == old) == ((2, False) if steps_before_the_kill == 2 else (1, True))
    assert read_sidecar(path) == sidecar
    save_checkpoint(path, small, {**SIDECAR, "seed": 3})
    assert {file.name for file in tmp_path.iterdir()} == {"a.pt", "a.json"}


def test_a_full_disk_keeps_the_checkpoint_that_was_there(
    tmp_path: Path, small: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save_checkpoint(tmp_path / "a.pt", small, SIDECAR)
    before = path.read_bytes(), sidecar_path(path).read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(whole_file.os, "fsync", full)
    with pytest.raises(WriteFailed, match="No space left"):
        save_checkpoint(path, small, {**SIDECAR, "seed": 5})
    assert before == (path.read_bytes(), sidecar_path(path).read_bytes())
    load_checkpoint(path)


UNUSABLE: dict[str, tuple[Any, str]] = {
    "not JSON": ("{", "not readable JSON"),
    "a list": ("[1]", "must hold a JSON object"),
    "empty": ("", "not readable JSON"),
    "no schema": ({"schema": None}, "'schema'"),
    "schema of text": ({"schema": "1"}, "'schema'"),
    "schema true": ({"schema": True}, "'schema'"),
    "newer": ({"schema": 2}, "update fairbench"),
    "no sha": ({"sha256": None}, "'sha256'"),
    "short sha": ({"sha256": "abc"}, "'sha256'"),
    "architecture 5": ({"architecture": 5}, "'architecture'"),
    "classes as text": ({"num_classes": "10"}, "'num_classes'"),
    "classes true": ({"num_classes": True}, "'num_classes'"),
    "no classes": ({"num_classes": 0}, "at least 1"),
    "flat shape": ({"shape": [64]}, "three positive integers"),
    "shape of text": ({"shape": ["1", "8", "8"]}, "three positive integers"),
    "hyper list": ({"hyper": []}, "'hyper'"),
    "names of numbers": ({"class_names": [1]}, "'class_names'"),
    "unknown normalize": ({"normalize": "cifra10"}, "Did you mean 'cifar10'"),
    "unknown architecture": ({"architecture": "resnet81"}, "which fairbench does not have"),
    "code": ({"architecture": "os:abort"}, "which fairbench does not have"),
}


@pytest.mark.parametrize("case", list(UNUSABLE))
def test_a_sidecar_with_unusable_values_is_bad_input(tmp_path: Path, small: nn.Module, case: str) -> None:
    change, message = UNUSABLE[case]
    path = save_checkpoint(tmp_path / "a.pt", small, SIDECAR)
    record = json.loads(sidecar_path(path).read_text())
    sidecar_path(path).write_text(change if isinstance(change, str) else json.dumps({**record, **change}))
    with pytest.raises(BadInput, match=message) as error:
        load_checkpoint(path)
    assert len(str(error.value)) < 600


def test_a_value_of_the_wrong_kind_is_not_written(tmp_path: Path, small: nn.Module) -> None:
    with pytest.raises(BadInput, match="'seed'"):
        save_checkpoint(tmp_path / "a.pt", small, {**SIDECAR, "seed": "0"})
    assert not list(tmp_path.iterdir())


def test_without_a_sidecar_there_is_none(tmp_path: Path, small: nn.Module) -> None:
    torch.save(small.state_dict(), tmp_path / "a.pt")
    assert read_sidecar(tmp_path / "a.pt") is None
    assert verified_sidecar(tmp_path / "a.pt")[0] is None


def test_a_failing_last_rename_says_so(tmp_path: Path, small: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    rename = Path.replace

    def refuse(self: Path, target: Path) -> Path:
        if str(target).endswith(".json"):
            raise OSError(30, "Read-only file system")
        return rename(self, target)

    monkeypatch.setattr(module.Path, "replace", refuse)
    with pytest.raises(WriteFailed, match="Read-only"):
        save_checkpoint(tmp_path / "a.pt", small, SIDECAR)


def test_normalized_models_are_stored_bare(tmp_path: Path, small: nn.Module) -> None:
    path = save_checkpoint(tmp_path / "a.pt", normalized(small, "mnist", 1), {**SIDECAR, "normalize": "mnist"})
    assert list(torch.load(path, weights_only=True)) == list(small.state_dict())
