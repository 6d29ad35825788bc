"""timm: and hf: names, on weights that are made here; runs where the extra `zoo` is installed."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fairbench.cli import run
from fairbench.errors import BadInput
from fairbench.models.zoo import find_zoo_model
from fairbench.models.zoo_timm import preprocessing_of
from fairbench.runs import read_run

pytestmark = pytest.mark.skipif(importlib.util.find_spec("timm") is None, reason="the extra 'zoo' is not installed")

TINY = "test_byobnet.r160_in1k"


def network(classes: int = 1000) -> nn.Module:
    import timm

    torch.manual_seed(0)
    model: nn.Module = timm.create_model("test_byobnet", pretrained=False, num_classes=classes).eval()
    return model


def by_hand(model: nn.Module, x: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    with torch.no_grad():
        logits: Tensor = model((x - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1))
    return logits


def hub_folder(folder: Path, classes: int) -> nn.Module:
    """Write what timm's save_for_hf writes."""
    from safetensors.torch import save_file

    model = network(classes)
    folder.mkdir(parents=True)
    save_file(model.state_dict(), folder / "model.safetensors")
    config = {"input_size": [3, 64, 64], "mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6], "crop_pct": 0.95}
    written = {"architecture": "test_byobnet", "num_classes": classes, "pretrained_cfg": config}
    (folder / "config.json").write_text(json.dumps(written))
    return model


def test_a_timm_model_from_a_local_file_with_its_normalisation(tmp_path: Path) -> None:
    import timm

    expected = network()
    (tmp_path / "models" / "timm").mkdir(parents=True)
    torch.save(expected.state_dict(), tmp_path / "models" / "timm" / f"{TINY}.pth")
    found = find_zoo_model(f"timm:{TINY}", data_dir=tmp_path)
    loaded = found.load()
    config = timm.models.get_pretrained_cfg(TINY)
    x = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(loaded.model(x), by_hand(expected, x, config.mean, config.std))
    assert (found.dataset, loaded.num_classes) == ("imagenet", 1000)
    assert found.images == {"resize": 182, "crop": 160, "interpolation": "bicubic"}  # 160 / 0.875 = 182.9


def test_a_hub_model_from_a_local_folder_is_evaluated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    expected = hub_folder(tmp_path / "models" / "hf" / "me" / "tiny", 10)
    pixels = np.random.default_rng(0).integers(0, 256, (20, 64, 64, 3), dtype=np.uint8)
    np.savez("tiny.npz", x=pixels, y=np.arange(20) % 10)
    asked = ["eval", "hf:me/tiny", "--dataset", "npz:tiny.npz", "--eps", "1/255", "--attacks", "fgsm", "--out", "run"]
    assert run([*asked, "--accept", "low-accuracy"]) == 0
    saved = read_run(tmp_path / "run")
    x = torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255
    predicted = by_hand(expected, x, (0.1, 0.2, 0.3), (0.4, 0.5, 0.6)).argmax(1).tolist()
    assert saved.outcomes.of("natural").prediction.tolist() == predicted
    assert saved.record["model"]["normalize"] == "0.1,0.2,0.3/0.4,0.5,0.6"
    assert saved.record["model"]["source"].startswith("hf:me/tiny (timm ")


def test_another_number_of_classes_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    hub_folder(tmp_path / "models" / "hf" / "me" / "tiny", 7)
    np.savez("tiny.npz", x=np.zeros((10, 64, 64, 3), np.uint8), y=np.arange(10))
    assert run(["eval", "hf:me/tiny", "--dataset", "npz:tiny.npz", "--eps", "1/255"]) == 2
    assert "has 7 classes, but npz:tiny.npz has 10" in capsys.readouterr().err
    assert run(["eval", "hf:me/tiny"]) == 2
    assert "does not say its data set; say it with --dataset" in capsys.readouterr().err


def test_a_failed_download_says_what_to_fetch_and_where_to_put_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub

    def no_net(*_: object, **__: object) -> str:
        raise huggingface_hub.errors.LocalEntryNotFoundError("no route")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", no_net)
    address = "fetch https://huggingface.co/timm/test_byobnet.r160_in1k/resolve/main/model.safetensors and save it as"
    with pytest.raises(BadInput, match=address) as error:
        find_zoo_model(f"timm:{TINY}", data_dir=tmp_path).load()
    assert str(tmp_path / "models" / "hf" / "timm" / TINY / "model.safetensors") in str(error.value)
    assert f"where models/hf/timm/{TINY}/model.safetensors lies" in str(error.value)
    with pytest.raises(BadInput, match=r"fetch https://huggingface\.co/me/tiny/resolve/main/config\.json"):
        find_zoo_model("hf:me/tiny", data_dir=tmp_path)


def test_a_downloaded_hub_file_must_have_the_published_hash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from types import SimpleNamespace

    import huggingface_hub

    place = tmp_path / "models" / "hf" / "me" / "tiny"
    hub_folder(tmp_path / "hub", 10)

    def download(_: str, name: str, *, local_dir: Path) -> str:
        local_dir.mkdir(parents=True, exist_ok=True)
        (local_dir / name).write_bytes((tmp_path / "hub" / name).read_bytes())
        return str(local_dir / name)

    def metadata(url: str) -> SimpleNamespace:
        return SimpleNamespace(etag="0" * 64 if url.endswith("safetensors") else "1" * 40)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    monkeypatch.setattr(huggingface_hub, "get_hf_file_metadata", metadata)
    with pytest.raises(BadInput, match=r"is not the file that model\.safetensors\.sha256 names"):
        find_zoo_model("hf:me/tiny", data_dir=tmp_path)
    assert (place / "config.json").is_file()


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("timm:resnet1800", "Did you mean"),
        ("timm:resnet18.nothing", "unknown weights of timm's resnet18 'nothing'"),
        ("timm:", "must be followed by a name"),
        ("hf:tiny", "hf: takes OWNER/REPO"),
    ],
)
def test_names_that_are_none(name: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=said):
        find_zoo_model(name, data_dir=tmp_path).load()


def test_another_cropping_is_refused() -> None:
    with pytest.raises(BadInput, match="crops this model's images by 'border'"):
        preprocessing_of({"input_size": (3, 64, 64), "crop_mode": "border"})
