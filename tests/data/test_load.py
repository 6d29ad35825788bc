from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fairbench.data import DATASETS, default_threat, load_dataset
from fairbench.data.registry import DatasetSpec
from fairbench.data.source import data_folder
from fairbench.errors import BadInput

DESIGN = {
    "digits": "0.1", "mnist": "0.3", "fashion-mnist": "0.1", "cifar10": "8/255", "cifar100": "8/255", "svhn": "8/255",
    "stl10": "8/255", "imagenette": "8/255", "tiny-imagenet": "8/255", "imagenet": "4/255",
}  # fmt: skip


def test_the_default_radii_are_the_designs() -> None:
    assert {name: default_threat(name) for name in DATASETS} == DESIGN
    assert default_threat("cifar10", "L2") is None
    assert default_threat("npz:x") is None


@pytest.mark.parametrize("spec", DATASETS.values(), ids=list(DATASETS))
def test_every_entry_is_complete(spec: DatasetSpec) -> None:
    assert (spec.arrays is None) != (spec.images is None)
    assert len(spec.class_names) in (0, spec.num_classes)
    assert len(set(spec.class_names)) == len(spec.class_names)
    for mean, std in spec.normalizations.values():
        assert len(mean) == len(std) == spec.shape[0]
        assert all(0 < value < 1 for value in (*mean, *std))


@pytest.mark.parametrize("name", [name for name in DATASETS if name != "digits"])
@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_missing_files_are_named_with_place_and_remedy(tmp_path: Path, name: str, split: str) -> None:
    with pytest.raises(BadInput) as error:
        load_dataset(name, split, data_dir=tmp_path)  # type: ignore[arg-type]
    text = str(error.value)
    assert f"{name} needs " in text
    assert str(tmp_path) in text
    assert "to get it: " in text
    assert "FAIRBENCH_DATA" in text
    assert len(text) < 600


def test_the_data_folder_is_the_option_then_the_environment_then_data(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("FAIRBENCH_DATA", str(tmp_path))
    assert data_folder(None) == tmp_path
    assert data_folder("elsewhere") == Path("elsewhere")
    monkeypatch.delenv("FAIRBENCH_DATA")
    assert data_folder(None) == Path("data")
    with pytest.raises(BadInput, match="empty"):
        data_folder("")


@pytest.mark.parametrize(
    ("name", "split", "options", "message"),
    [
        ("mnst", "test", {}, "Did you mean 'mnist'"),
        ("digits", "trian", {}, "Did you mean 'train'"),
        ("digits", "test", {"resize": 32}, "--resize is for image files"),
        ("npz:", "test", {}, "names no path"),
        ("folder:  ", "test", {}, "names no path"),
        ("npz:nowhere.npz", "test", {}, "does not exist"),
        ("folder:nowhere", "test", {}, "does not exist"),
    ],
)
def test_mistakes_are_one_sentence(name: str, split: str, options: dict[str, int], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        load_dataset(name, split, **options)  # type: ignore[arg-type]


def test_real_mnist(real_data: Path) -> None:
    test = load_dataset("mnist", data_dir=real_data)
    assert np.bincount(test.y).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert len(load_dataset("mnist", "validation", data_dir=real_data)) == 1000


def test_real_cifar10_in_shards(real_data: Path) -> None:
    train, held = (load_dataset("npz:cifar10", split, data_dir=real_data) for split in ("train", "validation"))
    assert (len(train), len(held)) == (45000, 5000)
    assert train.class_names == DATASETS["cifar10"].class_names
