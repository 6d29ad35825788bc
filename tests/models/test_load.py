"""From a file to a network: architectures, classes, normalisation, and the sentences where they do not fit."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import fairbench
from fairbench.data import ArrayDataset, load_dataset, to_unit
from fairbench.errors import BadInput
from fairbench.models import build_model
from fairbench.models.load import load_checkpoint, load_model


def _save(path: Path, name: str, classes: int = 10, shape: tuple[int, int, int] = (3, 32, 32)) -> Path:
    torch.manual_seed(0)
    torch.save(build_model(name, num_classes=classes, shape=shape).state_dict(), path)
    return path


def test_without_sidecar_and_model_the_fitting_architecture_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="say it with --model: it fits --model mobilenetv2"):
        load_checkpoint(_save(tmp_path / "a.pt", "mobilenetv2"), dataset="cifar10")


@pytest.mark.parametrize("dataset", [None, "cifar10"])
@pytest.mark.parametrize(
    ("saved", "asked"),
    [("preactresnet18", "resnet18"), ("resnet18", "preactresnet18"), ("preactresnet18-plain", "preactresnet18")],
)
def test_a_wrong_architecture_names_keys_and_the_right_one(
    tmp_path: Path, saved: str, asked: str, dataset: str | None
) -> None:
    with pytest.raises(BadInput) as error:
        load_checkpoint(_save(tmp_path / "a.pt", saved), model=asked, dataset=dataset)
    text = str(error.value)
    assert f"a.pt does not fit {asked}: it lacks" in text
    assert f"it fits --model {saved}." in text or f"it fits --model {saved}, for" in text
    assert len(text) < 600
    first = {"preactresnet18": "bn1.weight", "resnet18": "bn.weight", "preactresnet18-plain": "bn.weight"}[saved]
    assert first in text


def test_torchvisions_names_are_suggested_too(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="it fits --model torchvision:resnet18"):
        load_checkpoint(_save(tmp_path / "a.pt", "torchvision:resnet18"), model="resnet18", dataset="cifar10")


def test_weights_for_another_image_size_say_for_which(tmp_path: Path) -> None:
    path = _save(tmp_path / "a.pt", "small-cnn", shape=(1, 28, 28))
    with pytest.raises(BadInput, match=r"has conv1.weight of shape .*it fits --model small-cnn, for 1x28x28 images"):
        load_checkpoint(path, model="small-cnn", dataset="digits")


def test_weights_that_nothing_fits(tmp_path: Path) -> None:
    torch.save({"a.weight": torch.zeros(2, 2)}, tmp_path / "a.pt")
    with pytest.raises(BadInput, match=r"has unknown a\.weight; no architecture .* fits; give your own"):
        load_checkpoint(tmp_path / "a.pt", model="small-cnn", dataset="digits")


@pytest.mark.parametrize("name", ["resnet18", "small-cnn", "torchvision:regnet_y_400mf", "torchvision:squeezenet1_1"])
def test_another_number_of_classes_has_its_own_sentence(tmp_path: Path, name: str) -> None:
    path = _save(tmp_path / "a.pt", name, classes=7)
    with pytest.raises(BadInput, match=r"a\.pt has 7 classes, but 10 are expected"):
        load_checkpoint(path, model=name, dataset="cifar10")
    assert load_checkpoint(path, model=name, num_classes=7, shape=(3, 32, 32)).num_classes == 7
    assert load_checkpoint(path, model=name, shape=(3, 32, 32)).num_classes == 7


def test_classes_and_shape_come_from_the_data_set_given(tmp_path: Path) -> None:
    data = ArrayDataset(np.zeros((4, 1, 12, 12), np.uint8), [0, 1, 2, 3])
    path = _save(tmp_path / "a.pt", "small-cnn", classes=4, shape=(1, 12, 12))
    assert load_checkpoint(path, model="small-cnn", dataset=data).num_classes == 4
    with pytest.raises(BadInput, match="does not fit small-cnn"):
        load_checkpoint(path, model="small-cnn")


def test_an_unused_second_stage_is_ignored(tmp_path: Path) -> None:
    """Released WideResNets create `sub_block1` and never call it; here in a small stand-in for the network."""
    state = build_model("resnet18", num_classes=10, shape=(3, 32, 32)).state_dict()
    state |= {f"sub_block1.layer.0.{key}": torch.zeros(3) for key in ("bn1.weight", "conv1.weight")}
    torch.save({"state_dict": {f"module.{key}": value for key, value in state.items()}}, tmp_path / "a.pt")
    assert "sub_block1.layer.0.bn1.weight" not in load_model(tmp_path / "a.pt", model="resnet18").state_dict()


def test_old_checkpoints_without_batch_counters_load(tmp_path: Path) -> None:
    state = build_model("mobilenetv2", num_classes=10, shape=(3, 32, 32)).state_dict()
    kept = {key: value for key, value in state.items() if not key.endswith("num_batches_tracked")}
    torch.save(kept, tmp_path / "a.pt")
    assert load_checkpoint(tmp_path / "a.pt", model="mobilenetv2").num_classes == 10


@pytest.mark.parametrize("names", [("normalize.mean", "normalize.std"), ("mu", "sigma"), ("0.mean", "0.std")])
def test_a_normalisation_inside_the_file_is_used(tmp_path: Path, names: tuple[str, str]) -> None:
    prefix = "1." if names[0] == "0.mean" else "model."
    network = build_model("small-cnn", num_classes=10, shape=(3, 32, 32))
    mean, std = torch.tensor([0.4914, 0.4822, 0.4465]), torch.tensor([0.2471, 0.2435, 0.2616])
    state = {names[0]: mean.view(1, 3, 1, 1), names[1]: std.view(1, 3, 1, 1)}
    torch.save({**state, **{prefix + key: value for key, value in network.state_dict().items()}}, tmp_path / "a.pt")
    loaded = load_checkpoint(tmp_path / "a.pt", model="small-cnn", dataset="cifar10")
    assert loaded.normalize == "0.4914,0.4822,0.4465/0.2471,0.2435,0.2616"
    x = torch.rand(2, 3, 32, 32)
    expected = network((x - mean.view(3, 1, 1)) / std.view(3, 1, 1))
    assert torch.equal(loaded.model(x), expected)
    assert (
        load_checkpoint(tmp_path / "a.pt", model="small-cnn", dataset="cifar10", normalize="none").normalize == "none"
    )


def test_normalize_is_applied_and_recorded(tmp_path: Path) -> None:
    path = _save(tmp_path / "a.pt", "small-cnn")
    plain = load_checkpoint(path, model="small-cnn", dataset="cifar10")
    loaded = load_checkpoint(path, model="small-cnn", dataset="cifar10", normalize="0.5,0.5,0.5/0.25,0.25,0.25")
    assert (plain.normalize, loaded.normalize) == ("none", "0.5,0.5,0.5/0.25,0.25,0.25")
    x = torch.rand(2, 3, 32, 32)
    assert torch.equal(loaded.model(x), plain.model((x - 0.5) / 0.25))


FACTORIES = """
import dataclasses, sys
from beside import WIDTH
from torch import nn
from fairbench.models import build_model

@dataclasses.dataclass
class Settings:
    classes: "int" = 10

print("imported")

def good():
    print("called")
    assert WIDTH == 16
    return build_model("small-cnn", num_classes=Settings().classes, shape=(1, 8, 8))

class Klass(nn.Linear):
    def __init__(self):
        super().__init__(64, 10)

class Group:
    good = staticmethod(good)

network = nn.Linear(2, 2)
number = 5
def raises(): raise RuntimeError("the disk\\nis on fire")
def leaves(): sys.exit(3)
def wants(size): return nn.Linear(size, 2)
def gives_none(): return None
def gives_class(): return nn.Linear
def other_classes(): return build_model("small-cnn", num_classes=7, shape=(1, 8, 8))
"""


@pytest.fixture
def factories(tmp_path: Path) -> Path:
    folder = tmp_path / "their code"
    folder.mkdir()
    (folder / "beside.py").write_text("WIDTH = 16\n")
    (folder / "nets.py").write_text(FACTORIES)
    _save(tmp_path / "a.pt", "small-cnn", shape=(1, 8, 8))
    return folder / "nets.py"


@pytest.mark.parametrize("factory", ["good", "Group.good"])
def test_a_file_anywhere_gives_the_architecture(
    tmp_path: Path, factories: Path, factory: str, capsys: pytest.CaptureFixture[str]
) -> None:
    loaded = load_checkpoint(tmp_path / "a.pt", model=f"{factories}:{factory}", dataset="digits")
    assert loaded.architecture == f"nets.py:{factory}"
    assert loaded.num_classes == 10
    assert loaded.model(torch.rand(2, 1, 8, 8)).shape == (2, 10)
    assert capsys.readouterr().out == "", "stdout is for the result"


def test_a_module_beside_the_person_gives_the_architecture(
    tmp_path: Path, factories: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(factories.parent)
    monkeypatch.delitem(os.sys.modules, "beside", raising=False)  # type: ignore[attr-defined]
    assert load_checkpoint(tmp_path / "a.pt", model="nets:good").architecture == "nets:good"


@pytest.mark.parametrize(
    ("factory", "message"),
    [
        ("missing", "there is no 'missing' in it; it has: .*good"),
        ("network", "must be a function or class"),
        ("number", "must be a function or class"),
        ("raises", r"raised RuntimeError \(the disk is on fire\)"),
        ("leaves", r"raised SystemExit \(3\)"),
        ("wants", "raised TypeError"),
        ("gives_none", "returned NoneType"),
        ("gives_class", "must return an nn.Module, but returned type"),
        ("Klass", r"does not fit .*:Klass: it lacks weight, bias.*it fits --model small-cnn"),
        ("other_classes", "does not fit .*linear2.weight of shape"),
        ("", "with a name on both sides"),
    ],
)
def test_any_other_factory_is_bad_input(tmp_path: Path, factories: Path, factory: str, message: str) -> None:
    with pytest.raises(BadInput, match=message) as error:
        load_checkpoint(tmp_path / "a.pt", model=f"{factories}:{factory}", dataset="digits")
    assert len(str(error.value)) < 600
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("code", "message"),
    [("def f(:\n", "SyntaxError"), ("import no_such_module\n", "no_such_module"), ("raise SystemExit\n", "SystemExit")],
)
def test_a_file_that_cannot_be_imported(tmp_path: Path, code: str, message: str) -> None:
    (tmp_path / "nets.py").write_text(code)
    path = _save(tmp_path / "a.pt", "small-cnn", shape=(1, 8, 8))
    with pytest.raises(BadInput, match=f"cannot be imported: .*{message}"):
        load_checkpoint(path, model=f"{tmp_path / 'nets.py'}:f", dataset="digits")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": "no_such_module_anywhere:f"}, "cannot be imported"),
        ({"model": "nowhere.py:f"}, "does not exist"),
        ({"model": "smal-cnn"}, "Did you mean 'small-cnn'"),
        ({"model": ""}, "--model must not be an empty text"),
        ({"normalize": "  ", "model": "small-cnn"}, "--normalize must not be an empty text"),
        ({"normalize": "cifar10", "model": "small-cnn"}, "1 channel"),
    ],
)
def test_options_that_make_no_sense(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    path = _save(tmp_path / "a.pt", "small-cnn", shape=(1, 8, 8))
    with pytest.raises(BadInput, match=message):
        load_checkpoint(path, dataset="digits", **options)


def test_an_unknown_data_set_is_bad_input(tmp_path: Path) -> None:
    path = _save(tmp_path / "a.pt", "small-cnn", shape=(1, 8, 8))
    with pytest.raises(BadInput, match="Did you mean 'digits'"):
        load_checkpoint(path, model="small-cnn", dataset="digit")
    assert load_checkpoint(path, model="small-cnn", dataset="npz:elsewhere").num_classes == 10


def test_an_empty_path_is_bad_input() -> None:
    with pytest.raises(BadInput, match="empty text"):
        load_checkpoint("")


def test_the_public_name_loads_a_network(tmp_path: Path) -> None:
    path = _save(tmp_path / "a.pt", "small-cnn", shape=(1, 8, 8))
    model = fairbench.load_model(path, model="small-cnn", dataset="digits")
    assert isinstance(model, nn.Module)
    assert not model.training


#: Natural accuracy over all 10,000 test images, from the checkpoints' README.
REFERENCE = {
    "mnist_pgd": 0.9899, "mnist_fgsm": 0.9850, "mnist_certified": 0.9820, "mnist_wk17a": 0.9811, "mnist_trades": 0.9897,
    "mnist_natural": 0.9934, "cifar10_cnn": 0.6563, "cifar10_resnet2b": 0.6925, "cifar10_certified_8px": 0.2761,
}  # fmt: skip


def _accuracy(folder: Path, name: str, count: int | None) -> float:
    data = load_dataset("mnist" if name.startswith("mnist") else "npz:cifar10", data_dir=folder)
    factory = f"{folder / 'models/architectures.py'}:{name}"
    model = load_checkpoint(folder / f"models/{name}.pt", model=factory, dataset=data).model
    rows = np.arange(len(data) if count is None else count)
    right = 0
    with torch.no_grad():
        for block in np.split(rows, range(500, len(rows), 500)):
            right += int((model(to_unit(data.pixels(block))).argmax(1).numpy() == data.y[block]).sum())
    return right / len(rows)


def test_a_real_checkpoint_loads_and_predicts(real_data: Path) -> None:
    assert _accuracy(real_data, "mnist_natural", 500) >= 0.98


@pytest.mark.slow
@pytest.mark.parametrize(("name", "accuracy"), REFERENCE.items())
def test_real_checkpoints_have_their_reference_accuracy(real_data: Path, name: str, accuracy: float) -> None:
    assert _accuracy(real_data, name, None) == accuracy
