"""Files of the wild: wrappers, prefixes, other formats, and what must not be loaded or run."""

from __future__ import annotations

import argparse
import os
import pickle
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from fairbench.errors import BadInput
from fairbench.models.file_kind import file_kind
from fairbench.models.load import load_checkpoint
from fairbench.models.program import Program
from fairbench.models.weights import read_weights

State = dict[str, Tensor]
OPTIONS: dict[str, Any] = {"model": "small-cnn", "dataset": "digits"}

WRAPPED: dict[str, Callable[[State], object]] = {
    "bare": lambda state: state,
    "state_dict": lambda state: {"state_dict": state, "epoch": 3, "best_acc": torch.tensor(0.5)},
    "model": lambda state: {"model": state, "optimizer": {"state": {}, "param_groups": [{"lr": 0.1}]}},
    "net": lambda state: {"net": state, "acc": 93.1, "epoch": 7},
    "model_state_dict": lambda state: {"epoch": 1, "model_state_dict": state, "loss": 0.1},
    "nested": lambda state: {"model": {"state_dict": {"net": state}}, "name": "x"},
    "DataParallel": lambda state: {f"module.{key}": value for key, value in state.items()},
    "compiled": lambda state: {f"_orig_mod.{key}": value for key, value in state.items()},
    "both": lambda state: {"model": {f"module._orig_mod.{key}": value for key, value in state.items()}},
    "both the other way": lambda state: {f"_orig_mod.module.{key}": value for key, value in state.items()},
    "compiled inside": lambda state: {key.replace("conv1.", "conv1._orig_mod."): value for key, value in state.items()},
    "averaged": lambda state: {
        "n_averaged": torch.tensor(5), **{f"module.{key}": value for key, value in state.items()},
    },
    "sequential": lambda state: {f"1.{key}": value for key, value in state.items()},
    "wrapper module": lambda state: {"state_dict": {f"module.model.{key}": value for key, value in state.items()}},
    "half precision": lambda state: {key: value.half() for key, value in state.items()},
    "parameters": lambda state: {key: nn.Parameter(value) for key, value in state.items()},
    "NumPy and arguments": lambda state: {
        "state_dict": state, "acc": np.float64(0.5), "best": np.array([1.0, 2.0]), "step": np.int64(3),
        "args": argparse.Namespace(lr=0.1, eps=np.float32(0.03), name="run"),
    },
}  # fmt: skip


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("wrapper", list(WRAPPED))
def test_the_usual_wrappers_are_unwrapped(tmp_path: Path, small: nn.Module, wrapper: str, legacy: bool) -> None:
    content = WRAPPED[wrapper](small.state_dict())
    torch.save(content, tmp_path / "a.pth", _use_new_zipfile_serialization=not legacy)
    loaded = load_checkpoint(tmp_path / "a.pth", **OPTIONS).model.state_dict()
    for key, value in small.state_dict().items():
        torch.testing.assert_close(loaded[key], value, rtol=1e-3 if wrapper == "half precision" else 0, atol=1e-4)


def test_safetensors_by_content_not_by_name(tmp_path: Path, small: nn.Module) -> None:
    from safetensors.torch import save_file

    save_file({f"module.{key}": value for key, value in small.state_dict().items()}, tmp_path / "a.pt")
    assert file_kind(tmp_path / "a.pt") == "safetensors"
    loaded = load_checkpoint(tmp_path / "a.pt", **OPTIONS).model.state_dict()
    assert all(torch.equal(loaded[key], value) for key, value in small.state_dict().items())


class _Runs:
    """Makes a folder when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = str(marker)

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mkdir, (self.marker,))


@pytest.mark.parametrize("how", ["zip", "legacy", "pickle", "inside", "renamed"])
def test_a_pickle_that_would_run_code_does_not(tmp_path: Path, small: nn.Module, how: str) -> None:
    marker, path = tmp_path / "ran", tmp_path / ("a.safetensors" if how == "renamed" else "a.pt")
    content: object = {"state_dict": small.state_dict(), "extra": _Runs(marker)} if how == "inside" else _Runs(marker)
    if how == "pickle":
        path.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=how != "legacy")
    with pytest.raises(BadInput) as error:
        load_checkpoint(path, **OPTIONS)
    assert not marker.exists()
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 600
    if how != "pickle":
        assert "mkdir" in str(error.value)
        assert "not loaded" in str(error.value)


def test_a_whole_pickled_network_is_refused_by_name(tmp_path: Path, small: nn.Module) -> None:
    torch.save(small, tmp_path / "a.pt")
    with pytest.raises(BadInput, match=r"SmallCNN.*save the weights alone"):
        load_checkpoint(tmp_path / "a.pt", **OPTIONS)


def _write(path: Path, content: bytes) -> None:
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: path.mkdir(), "is a folder"),
        (lambda path: None, "does not exist"),
        (lambda path: _write(path, b""), "is empty"),
        (lambda path: _write(path, b"hello, this is text\n"), "is not a checkpoint: it begins with b'hello"),
        (lambda path: _write(path, b"PK\x03\x04 and then nothing"), "truncated or damaged"),
        (lambda path: _write(path, b"\x80\x02 broken"), "truncated or damaged"),
        (lambda path: _write(path, (50).to_bytes(8, "little") + b"{" + b"x" * 80), "truncated or damaged"),
        (lambda path: np.savez(path, x=np.zeros(2)) or path.with_suffix(".pt.npz").rename(path), "zip archive without"),
        (lambda path: torch.save([1, 2], path), "holds no state dict.*list"),
        (lambda path: torch.save({"epoch": 3, "lr": 0.1}, path), "it holds: epoch, lr"),
        (lambda path: torch.save({}, path), "it holds: nothing"),
        (lambda path: torch.save({"a": torch.zeros(1), "b": 2}, path), "holds no state dict"),
        (lambda path: torch.save({"a": torch.eye(3).to_sparse()}, path), "sparse"),
    ],
)
def test_what_is_no_checkpoint_is_one_sentence(tmp_path: Path, make: Callable[[Path], object], message: str) -> None:
    make(tmp_path / "a.pt")
    with pytest.raises(BadInput, match=message) as error:
        load_checkpoint(tmp_path / "a.pt", **OPTIONS)
    assert len(str(error.value)) < 600


@pytest.mark.parametrize("ending", [".pt", ".safetensors"])
@pytest.mark.parametrize("share", [0.05, 0.5, 0.95, 0.999])
def test_a_truncated_file(tmp_path: Path, small: nn.Module, share: float, ending: str) -> None:
    from safetensors.torch import save_file

    path = tmp_path / f"a{ending}"
    (save_file if ending == ".safetensors" else torch.save)(small.state_dict(), path)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(BadInput, match=r"truncated|not a checkpoint"):
        load_checkpoint(path, **OPTIONS)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.floats(0, 1), value=st.integers(0, 255), legacy=st.booleans())
def test_a_damaged_byte_is_bad_input_or_harmless(tmp_path: Path, place: float, value: int, legacy: bool) -> None:
    path = tmp_path / "a.pt"
    torch.save({"a": torch.zeros(2), "b": torch.ones(3)}, path, _use_new_zipfile_serialization=not legacy)
    content = bytearray(path.read_bytes())
    content[int(place * (len(content) - 1))] = value
    path.write_bytes(content)
    try:
        text = "".join(read_weights(path)) and ""
    except BadInput as error:
        text = str(error)
    except AssertionError:
        text = file_kind(path)  # the name of a member became that of a program
    assert len(text) < 600


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_weights_that_are_not_finite_are_named(tmp_path: Path, small: nn.Module, value: float) -> None:
    with torch.no_grad():
        small.get_parameter("conv2.weight")[0, 0, 0, 0] = value
    torch.save(small.state_dict(), tmp_path / "a.pt")
    with pytest.raises(BadInput, match=r"NaN or infinite weights, first in 'conv2\.weight'"):
        load_checkpoint(tmp_path / "a.pt", **OPTIONS)


class _Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.linear(x.flatten(1))
        return logits


def _program(path: Path, kind: str) -> nn.Module:
    network = _Net().eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if kind == "export":
            torch.export.save(torch.export.export(network, (torch.zeros(2, 1, 8, 8),)), path)
        elif kind == "script":
            torch.jit.script(network).save(str(path))
        else:
            torch.jit.trace(network, torch.zeros(2, 1, 8, 8)).save(str(path))
    return network


@pytest.mark.parametrize("kind", ["script", "trace", "export"])
def test_programs_are_recognised_without_being_loaded(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / ("a.pt2" if kind == "export" else "a.pt")
    _program(path, kind)
    for place, name in ((torch, "load"), (torch.jit, "load"), (torch.export, "load")):
        monkeypatch.setattr(place, name, lambda *args, **kwargs: pytest.fail("loaded"))
    with pytest.raises(BadInput, match=r"can run code, so it was not loaded; add --trust-program"):
        load_checkpoint(path, **OPTIONS)


def test_the_older_listing_of_torch_export_is_known(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.pt2", "w") as archive:
        for name in ("version", "serialized_exported_program.json", "serialized_state_dict.pt"):
            archive.writestr(name, b"1")
    assert file_kind(tmp_path / "a.pt2") == "export"


@pytest.mark.parametrize("kind", ["script", "trace", "export"])
def test_a_trusted_program_runs_and_has_gradients(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "a.pt"
    network = _program(path, kind)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loaded = load_checkpoint(path, dataset="digits", trust_program=True, normalize="0.5/0.5")
    assert loaded.architecture == ("torch.export" if kind == "export" else "torchscript")
    x = torch.rand(2, 1, 8, 8, requires_grad=True)
    logits = loaded.model(x)
    torch.testing.assert_close(logits, network((x - 0.5) / 0.5))
    assert float(torch.autograd.grad(logits.sum(), x)[0].abs().max()) > 0
    assert not any(layer.training for layer in loaded.model.modules() if not isinstance(layer, Program))


def test_a_broken_program_is_one_sentence(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.pt", "w") as archive:
        archive.writestr("a/data.pkl", b"x")
        archive.writestr("a/constants.pkl", b"x")
    with pytest.raises(BadInput, match="cannot be loaded"):
        load_checkpoint(tmp_path / "a.pt", dataset="digits", trust_program=True)
