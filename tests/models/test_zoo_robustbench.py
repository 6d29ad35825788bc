"""RobustBench through the adapter, on weights that are made here; runs where the extra `zoo` is installed."""

from __future__ import annotations

import functools
import importlib.util
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from fairbench.cli import run
from fairbench.errors import BadInput
from fairbench.models import zoo_robustbench as zoo
from fairbench.models.zoo import find_zoo_model
from fairbench.models.zoo_files import check_hash
from fairbench.runs import read_run

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("robustbench") is None, reason="the extra 'zoo' is not installed"
)

#: Three definitions whose published files differ in form: what lies where, and what is missing.
LAST = zoo.Definition("cifar10", "Linf", "Andriushchenko2020Understanding")  # under "last", without mu and sigma
PLAIN = zoo.Definition("cifar10", "L2", "Rice2020Overfitting")
HUNDRED = zoo.Definition("cifar100", "Linf", "Rice2020Overfitting")  # of DataParallel


def write(definition: zoo.Definition, folder: Path) -> Tensor:
    """Write weights in the form of the published file, and return their logits of four images."""
    torch.manual_seed(1)
    with zoo.robustbench() as utils:
        network = zoo.build(utils, definition)
    state = {key: value for key, value in network.state_dict().items() if key not in ("mu", "sigma")}
    content: object = state
    if definition is LAST:
        content = {"last": state, "best": {key: value * 0 for key, value in state.items()}}
    elif definition is HUNDRED:
        content = {"state_dict": {f"module.{key}": value for key, value in state.items()}, "epoch": 3}
    path = folder / definition.dataset / definition.norm / f"{definition.name}.pt"
    path.parent.mkdir(parents=True)
    torch.save(content, path)
    with torch.no_grad():
        logits: Tensor = network(images())
    return logits


def images() -> Tensor:
    return torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("definition", [LAST, PLAIN, HUNDRED], ids=str)
def test_the_loaded_network_is_the_written_one(definition: zoo.Definition, tmp_path: Path) -> None:
    expected = write(definition, tmp_path / "models")
    loaded = find_zoo_model(str(definition), data_dir=tmp_path).load()
    with torch.no_grad():
        torch.testing.assert_close(loaded.model(images()), expected, rtol=0, atol=0)
    path = tmp_path / "models" / definition.dataset / definition.norm / f"{definition.name}.pt"
    assert loaded.sha256 == check_hash(path)
    assert loaded.num_classes == expected.shape[1]
    assert not loaded.model.training


def test_python_and_timm_are_left_as_they_were(tmp_path: Path) -> None:
    from timm.models import _registry

    models = dict(_registry._model_entrypoints)
    before = {name for name in sys.modules if name.startswith("robustbench")}
    write(PLAIN, tmp_path / "models")
    find_zoo_model(str(PLAIN), data_dir=tmp_path).load()
    assert {name for name in sys.modules if name.startswith("robustbench")} == before
    assert models == _registry._model_entrypoints
    assert torch.load.__module__ == "torch.serialization"


@pytest.mark.parametrize(
    ("definition", "norm", "eps"), [(LAST, "Linf", 8 / 255), (PLAIN, "L2", 0.5), (HUNDRED, "Linf", 8 / 255)], ids=str
)
def test_eval_takes_the_name_and_its_norm(
    definition: zoo.Definition, norm: str, eps: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write(definition, tmp_path / "models")
    classes = 100 if definition is HUNDRED else 10
    generator = np.random.default_rng(0)
    np.savez(
        tmp_path / "tiny.npz",
        x=generator.integers(0, 256, (2 * classes, 32, 32, 3), dtype=np.uint8),
        y=np.arange(2 * classes) % classes,
    )
    asked = ["eval", str(definition), "--dataset", "npz:tiny.npz", "--attacks", "pgd2", "--out", "run"]
    # Random weights are as good as chance, which is refused.
    asked += ["--accept", "low-accuracy"]
    assert run(asked) == 0
    record = read_run(tmp_path / "run").record
    assert (record["threat"]["norm"], record["threat"]["eps"]) == (norm, pytest.approx(eps))
    assert record["model"]["source"].startswith(f"{definition} (robustbench ")
    assert record["model"]["normalize"] == "inside"


def test_a_preset_brings_its_radius(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(LAST, tmp_path / "models")
    np.savez("tiny.npz", x=np.arange(10 * 32 * 32 * 3).reshape(10, 32, 32, 3).astype(np.uint8), y=np.arange(10))
    asked = ["eval", str(LAST), "--dataset", "npz:tiny.npz", "--attacks", "pgd20_003_031", "--accept", "low-accuracy"]
    assert run([*asked, "--out", "run"]) == 0
    assert read_run(tmp_path / "run").record["threat"]["eps"] == pytest.approx(0.031)


def test_a_file_that_changed_is_refused(tmp_path: Path) -> None:
    write(PLAIN, tmp_path / "models")
    path = tmp_path / "models" / "cifar10" / "L2" / "Rice2020Overfitting.pt"
    Path(f"{path}.sha256").write_text(f"{'0' * 64}  {path.name}\n")
    with pytest.raises(BadInput, match=r"is not the file that Rice2020Overfitting\.pt\.sha256 names"):
        find_zoo_model(str(PLAIN), data_dir=tmp_path).load()


def test_objects_in_a_file_are_not_run(tmp_path: Path) -> None:
    path = tmp_path / "models" / "cifar10" / "L2" / "Rice2020Overfitting.pt"
    path.parent.mkdir(parents=True)

    class Trap:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return Path.touch, (tmp_path / "sprung",)  # type: ignore[return-value]

    torch.save({"state_dict": Trap()}, path, pickle_module=pickle)
    with pytest.raises(BadInput):
        find_zoo_model(str(PLAIN), data_dir=tmp_path).load()
    assert not (tmp_path / "sprung").exists()


def test_weights_that_lack_a_layer_are_refused(tmp_path: Path) -> None:
    write(LAST, tmp_path / "models")
    path = tmp_path / "models" / "cifar10" / "Linf" / f"{LAST.name}.pt"
    content = torch.load(path)
    del content["last"]["linear.weight"]
    torch.save(content, path)
    with pytest.raises(BadInput, match="do not fit rb:cifar10/Linf/Andriushchenko2020Understanding"):
        find_zoo_model(str(LAST), data_dir=tmp_path).load()


def test_weights_that_a_lenient_load_would_leave_random_are_refused() -> None:
    """RobustBench loads this model with strict=False when the message names what it knows: here a layer is new, too."""
    with zoo.robustbench() as utils:
        network = zoo.build(utils, LAST)
        state = {key: value for key, value in network.state_dict().items() if key not in ("mu", "sigma")}
        network.extra = torch.nn.Linear(2, 2)
        network.load_state_dict = functools.partial(_lenient, network)
        with pytest.raises(RuntimeError, match=r"2 weights are missing, first extra\.weight"):
            utils._safe_load_state_dict(network, LAST.name, state, utils.BenchmarkDataset("cifar10"))


def _lenient(network: torch.nn.Module, state: dict[str, Tensor], strict: bool = True) -> object:
    if strict:
        raise RuntimeError('Missing key(s) in state_dict: "mu", "sigma".')
    return torch.nn.Module.load_state_dict(network, state, strict=False)


def test_missing_weights_say_what_to_fetch_and_where_to_put_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import gdown

    def no_net(**_: object) -> None:
        raise ConnectionError("no route")

    monkeypatch.setattr(gdown, "download", no_net)
    monkeypatch.chdir(tmp_path)
    np.savez(tmp_path / "tiny.npz", x=np.zeros((10, 32, 32, 3), np.uint8), y=np.arange(10))
    assert run(["eval", "rb:Carmon2019Unlabeled", "--dataset", "npz:tiny.npz", "--data-dir", "here"]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "the download failed (ConnectionError)" in said
    assert "fetch https://drive.google.com/uc?id=15tUx-gkZMYx7BfEOw1GY5OKC-jECIsPQ" in said
    assert "save it as here/models/cifar10/Linf/Carmon2019Unlabeled.pt" in said


def test_a_name_of_several_models_is_decided_or_refused() -> None:
    with zoo.robustbench() as utils:
        assert zoo.find_definition(utils, "Carmon2019Unlabeled", dataset=None, norm=None).dataset == "cifar10"
        with pytest.raises(BadInput, match="rb:cifar10/Linf/Rice2020Overfitting, rb:cifar10/L2/Rice2020Overfitting"):
            zoo.find_definition(utils, "Rice2020Overfitting", dataset=None, norm=None)
        assert zoo.find_definition(utils, "Rice2020Overfitting", dataset="cifar10", norm="L2") == PLAIN
        assert zoo.find_definition(utils, "cifar100/Rice2020Overfitting", dataset=None, norm=None) == HUNDRED
        with pytest.raises(BadInput, match="Did you mean 'Carmon2019Unlabeled'"):
            zoo.find_definition(utils, "Carmon2019Unlabelled", dataset=None, norm=None)


def test_normalize_and_model_are_refused_beside_a_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["eval", "rb:Carmon2019Unlabeled", "--normalize", "cifar10"]) == 2
    assert "hold their normalisation" in capsys.readouterr().err
    assert run(["eval", "rb:Carmon2019Unlabeled", "--model", "resnet18"]) == 2
    assert "has its own architecture" in capsys.readouterr().err


@pytest.mark.slow
def test_every_linf_and_l2_definition_builds() -> None:
    script = Path(__file__).parents[2] / "benchmarks" / "zoo_definitions.py"
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:]
    assert "165 of 165 definitions built" in done.stdout
