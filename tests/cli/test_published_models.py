"""`verify`, `reproduce` and `check` of a model that is a name: its weights are found again and proven by their hash.

Weights are made here, in the form of the published files; runs where the extra `zoo` is installed.
"""

from __future__ import annotations

import importlib.util
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fairbench.cli import run
from fairbench.runs import read_run, write_json

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("robustbench") is None, reason="the extra 'zoo' is not installed"
)
RB = "rb:cifar10/L2/Rice2020Overfitting"
HF = "hf:me/tiny"


def rb_weights(place: Path, seed: int = 1) -> None:
    from fairbench.models import zoo_robustbench as zoo

    torch.manual_seed(seed)
    with zoo.robustbench() as utils:
        network = zoo.build(utils, zoo.Definition("cifar10", "L2", "Rice2020Overfitting"))
    place.parent.mkdir(parents=True, exist_ok=True)
    torch.save({k: v for k, v in network.state_dict().items() if k not in ("mu", "sigma")}, place)


def hub_weights(folder: Path) -> None:
    import timm
    from safetensors.torch import save_file

    torch.manual_seed(0)
    folder.mkdir(parents=True)
    network = timm.create_model("test_byobnet", pretrained=False, num_classes=10)
    save_file(network.state_dict(), folder / "model.safetensors")
    config = {"input_size": [3, 32, 32], "mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6], "crop_pct": 0.95}
    written = {"architecture": "test_byobnet", "num_classes": 10, "pretrained_cfg": config}
    (folder / "config.json").write_text(json.dumps(written))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with weights, images, and a run of each of two published models."""
    place = tmp_path_factory.mktemp("made")
    rb_weights(place / "data/models/cifar10/L2/Rice2020Overfitting.pt")
    hub_weights(place / "data/models/hf/me/tiny")
    pixels = np.random.default_rng(0).integers(0, 256, (20, 32, 32, 3), dtype=np.uint8)
    np.savez(place / "data/tiny.npz", x=pixels, y=np.arange(20) % 10)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        for name, out in ((RB, "rb"), (HF, "hf")):
            asked = ["eval", name, "--dataset", "npz:tiny.npz", "--data-dir", "data", "--attacks", "pgd2"]
            asked += ["--accept", "low-accuracy", "--threads", "1", "--batch-size", "10", "--save-adversarial"]
            assert run([*asked, *(["--eps", "1/255"] if name == HF else []), "--out", out]) == 0
    return place


@pytest.fixture
def here(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    place = Path(shutil.copytree(made, tmp_path / "here"))
    monkeypatch.chdir(place)
    return place


def change(folder: Path, key: str, value: Any) -> None:
    record = json.loads((folder / "run.json").read_text())
    record["model"][key] = value
    write_json(folder / "run.json", record)


def bad(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    capsys.readouterr()
    assert run([*arguments]) == 2
    said = capsys.readouterr().err
    assert "Traceback" not in said
    assert len(said) < 620
    return " ".join(said.split())


@pytest.mark.parametrize("name", ["rb", "hf"])
def test_a_run_is_verified_and_reproduced(name: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["verify", name, "--data-dir", "data"]) == 0
    assert f"Verified: all 40 rows of {name} agree with its examples" in capsys.readouterr().out
    assert run(["reproduce", name, "--data-dir", "data", "--out", "again"]) == 0
    before, again = read_run(here / name), read_run(here / "again")
    assert before.outcomes.frame.equals(again.outcomes.frame)
    assert before.record["model"] == again.record["model"]


def test_the_name_may_be_said_again_and_a_file_or_an_architecture_may_not(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["verify", "rb", "--data-dir", "data", "--checkpoint", "rb:cifar10/Rice2020Overfitting"]) == 0
    file = "data/models/cifar10/L2/Rice2020Overfitting.pt"
    said = bad(capsys, "verify", "rb", "--data-dir", "data", "--checkpoint", file)
    assert "is found by its name, but --checkpoint is the file" in said
    assert "has its own architecture; leave it out" in bad(
        capsys, "verify", "rb", "--model", "resnet18", "--data-dir", "data"
    )


@pytest.mark.parametrize("command", ["verify", "reproduce"])
def test_other_weights_under_the_name_are_refused(command: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rb_weights(here / "data/models/cifar10/L2/Rice2020Overfitting.pt", seed=2)
    said = bad(capsys, command, "rb", "--data-dir", "data")
    assert f"the weights of {RB} here are not the run's" in said


def test_weights_that_are_not_here_say_what_to_fetch(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import gdown

    def no_net(**_: object) -> None:
        raise ConnectionError("no route")

    monkeypatch.setattr(gdown, "download", no_net)
    shutil.rmtree(here / "data/models/cifar10")
    said = bad(capsys, "verify", "rb", "--data-dir", "data")
    assert "the download failed (ConnectionError); fetch https://drive.google.com/" in said
    assert "save it as data/models/cifar10/L2/Rice2020Overfitting.pt" in said


def test_another_network_than_the_records_is_refused(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    change(here / "rb", "architecture", "resnet18")
    assert "the run's network is resnet18" in bad(capsys, "verify", "rb", "--data-dir", "data")


def test_a_reproduction_names_the_package_that_built_the_network(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    change(here / "hf", "source", f"{HF} (timm 0.0.1)")
    assert run(["reproduce", "hf", "--data-dir", "data", "--out", "again"]) == 0
    assert f"source {HF} (timm 0.0.1), now {HF} (timm " in " ".join(capsys.readouterr().out.split())
    assert read_run(here / "again").record["model"]["source"] != f"{HF} (timm 0.0.1)"


def test_check_takes_a_name_with_its_norm_and_radius(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import fairbench.evaluation.masking.check as masking

    seen = {}

    def kept(model: Any, dataset: Any, threat: Any, **_: Any) -> masking.CheckResult:
        seen["threat"], seen["training"] = threat, model.training
        return masking.CheckResult([], len(dataset), (), {})

    monkeypatch.setattr(masking, "check_model", kept)
    assert run(["check", RB, "--dataset", "npz:tiny.npz", "--data-dir", "data"]) == 0
    assert (seen["threat"].norm, seen["threat"].eps, seen["training"]) == ("L2", 0.5, False)
    assert "has its own architecture" in bad(capsys, "check", RB, "--model", "resnet18")


def test_the_probes_of_check_run_on_a_published_model(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["check", HF, "--dataset", "npz:tiny.npz", "--data-dir", "data", "--eps", "1/255", "--threads", "1"]
    assert run(asked) == 0
    assert "no flag raised by 9 probes on 20 images" in capsys.readouterr().out
    assert run([*asked, "--samples-per-class", "1", "--transfer-from", HF]) == 0
    assert "no flag raised by 10 probes on 10 images" in capsys.readouterr().out  # the tenth is the transfer
    said = bad(capsys, *asked, "--transfer-from", HF, "--transfer-model", "resnet18")
    assert "--transfer-model was given, but hf:me/tiny has its own architecture" in said
