"""Published data sets from small files in their true on-disk formats; torchvision's own readers are the oracle."""

from __future__ import annotations

import gzip
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torchvision
from scipy.io import savemat

from fairbench.data import DATASETS, load_dataset
from fairbench.errors import BadInput

Images = Callable[..., np.ndarray]


def write_idx(path: Path, values: np.ndarray, *, compress: bool = False) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    content = bytes((0, 0, 8, values.ndim)) + np.array(values.shape, ">u4").tobytes() + values.tobytes()
    path.write_bytes(gzip.compress(content) if compress else content)


def write_mnist(root: Path, folder: str, images: Images, count: int = 30, *, compress: bool = False) -> np.ndarray:
    end = ".gz" if compress else ""
    x = images(count, 28, 28)
    for stem in ("train", "t10k"):
        write_idx(root / folder / "raw" / f"{stem}-images-idx3-ubyte{end}", x, compress=compress)
        labels = (np.arange(count) % 10).astype(np.uint8)
        write_idx(root / folder / "raw" / f"{stem}-labels-idx1-ubyte{end}", labels, compress=compress)
    return x


def write_cifar(root: Path, name: str, images: Images, *, count: int = 20, protocol: int = 2) -> np.ndarray:
    """Write every file of CIFAR-10 or CIFAR-100, `count` images each; return the test images."""
    if name == "cifar10":
        folder, files, key, classes = "cifar-10-batches-py", [f"data_batch_{i}" for i in range(1, 6)], "labels", 10
        (root / folder).mkdir(parents=True)
        (root / folder / "batches.meta").write_bytes(pickle.dumps({"label_names": list("abcdefghij")}))
        tests = ["test_batch"]
    else:
        folder, files, key, classes, tests = "cifar-100-python", ["train"], "fine_labels", 100, ["test"]
        (root / folder).mkdir(parents=True)
        (root / folder / "meta").write_bytes(pickle.dumps({"fine_label_names": [str(i) for i in range(100)]}))
    for seed, file in enumerate(files + tests):
        x = images(count, 3072, seed=seed)
        batch = {
            "data": x,
            key: [i % classes for i in range(count)],
            "batch_label": file,
            "filenames": ["a.png"] * count,
        }
        (root / folder / file).write_bytes(pickle.dumps(batch, protocol=protocol))
    return x.reshape(-1, 3, 32, 32)


def without_checksums(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let torchvision's readers take the small files."""
    for kind in ("cifar", "svhn", "stl10", "mnist"):
        module = getattr(torchvision.datasets, kind)
        if hasattr(module, "check_integrity"):
            monkeypatch.setattr(module, "check_integrity", lambda path, md5=None: Path(path).exists())


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize(("name", "folder"), [("mnist", "MNIST"), ("fashion-mnist", "FashionMNIST")])
def test_idx_files_are_read_compressed_or_not(
    tmp_path: Path, random_images: Images, name: str, folder: str, compress: bool
) -> None:
    x = write_mnist(tmp_path, folder, random_images, compress=compress)
    data = load_dataset(name, data_dir=tmp_path)
    assert np.array_equal(data.pixels(range(30)).numpy(), x[:, None])
    assert data.y.tolist() == [i % 10 for i in range(30)]
    assert data.class_names == DATASETS[name].class_names
    assert (data.name, data.split, data.shape) == (name, "test", (1, 28, 28))
    if not compress:
        oracle = getattr(torchvision.datasets, folder)(tmp_path, train=False)
        assert np.array_equal(oracle.data.numpy(), x)


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_cifar_pickles_agree_with_torchvision(
    tmp_path: Path, random_images: Images, monkeypatch: pytest.MonkeyPatch, name: str, protocol: int
) -> None:
    count = 200 if name == "cifar100" else 20  # two of each class, of which one can be held out
    x = write_cifar(tmp_path, name, random_images, count=count, protocol=protocol)
    without_checksums(monkeypatch)
    oracle = getattr(torchvision.datasets, name.upper())
    test = load_dataset(name, data_dir=tmp_path)
    assert np.array_equal(test.pixels(range(count)).numpy(), x)
    assert np.array_equal(test.pixels(range(count)).permute(0, 2, 3, 1).numpy(), oracle(tmp_path, train=False).data)
    assert test.y.tolist() == oracle(tmp_path, train=False).targets
    train, held = load_dataset(name, "train", data_dir=tmp_path), load_dataset(name, "validation", data_dir=tmp_path)
    whole = oracle(tmp_path, train=True)
    assert len(train) + len(held) == len(whole.data)
    assert np.array_equal(train.pixels([3]).permute(0, 2, 3, 1).numpy()[0], whole.data[train.index[3]])
    assert held.y.tolist() == [whole.targets[i] for i in held.index]


def test_svhn_label_ten_is_the_digit_zero(
    tmp_path: Path, random_images: Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, y = random_images(32, 32, 3, 25), (np.arange(25) % 10 + 1).astype(np.uint8)[:, None]
    for part in ("train", "test"):
        savemat(tmp_path / f"{part}_32x32.mat", {"X": x, "y": y})
    data = load_dataset("svhn", data_dir=tmp_path)
    without_checksums(monkeypatch)
    oracle = torchvision.datasets.SVHN(str(tmp_path), "test")
    assert np.array_equal(data.pixels(range(25)).numpy(), oracle.data)
    assert data.y.tolist() == oracle.labels.tolist()
    assert data.y[9] == 0
    assert data.y[0] == 1


def test_stl10_stores_columns_before_rows(
    tmp_path: Path, random_images: Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "stl10_binary"
    folder.mkdir()
    stored = random_images(12, 3, 96, 96)
    for part in ("train", "test"):
        (folder / f"{part}_X.bin").write_bytes(stored.tobytes())
        (folder / f"{part}_y.bin").write_bytes((np.arange(12) % 10 + 1).astype(np.uint8).tobytes())
    (folder / "unlabeled_X.bin").touch()
    data = load_dataset("stl10", data_dir=tmp_path)
    assert int(data.pixels([2])[0, 1, 5, 7]) == stored[2, 1, 7, 5]
    without_checksums(monkeypatch)
    oracle = torchvision.datasets.STL10(str(tmp_path), "test")
    assert np.array_equal(data.pixels(range(12)).numpy(), oracle.data)
    assert data.y.tolist() == oracle.labels.tolist()


def test_a_set_may_lie_in_a_folder_of_its_own_name(tmp_path: Path, random_images: Images) -> None:
    write_mnist(tmp_path / "mnist", "MNIST", random_images)
    assert len(load_dataset("mnist", data_dir=tmp_path)) == 30


def test_only_the_part_that_is_asked_for_has_to_be_there(tmp_path: Path, random_images: Images) -> None:
    write_cifar(tmp_path, "cifar10", random_images)
    for i in range(1, 6):
        (tmp_path / "cifar-10-batches-py" / f"data_batch_{i}").unlink()
    assert len(load_dataset("cifar10", data_dir=tmp_path)) == 20
    with pytest.raises(BadInput, match="data_batch_1"):
        load_dataset("cifar10", "train", data_dir=tmp_path)


class _Runs:
    def __init__(self, marker: str) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mkdir, (self.marker,))


def test_a_cifar_pickle_that_would_run_code_does_not(tmp_path: Path, random_images: Images) -> None:
    write_cifar(tmp_path, "cifar10", random_images)
    marker = tmp_path / "ran"
    (tmp_path / "cifar-10-batches-py" / "test_batch").write_bytes(pickle.dumps({"data": _Runs(str(marker))}))
    with pytest.raises(BadInput, match=r"asks for .*mkdir"):
        load_dataset("cifar10", data_dir=tmp_path)
    assert not marker.exists()


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize("damage", [_cut, lambda path: path.write_bytes(b""), lambda path: path.write_text("hello")])
@pytest.mark.parametrize("name", ["mnist", "mnist.gz", "cifar10", "svhn", "stl10"])
def test_a_damaged_file_is_named_in_one_sentence(
    tmp_path: Path, random_images: Images, name: str, damage: Callable[[Path], object]
) -> None:
    if name.startswith("mnist"):
        write_mnist(tmp_path, "MNIST", random_images, compress=name.endswith("gz"))
        file = tmp_path / "MNIST/raw" / ("t10k-images-idx3-ubyte" + (".gz" if name.endswith("gz") else ""))
    elif name == "cifar10":
        write_cifar(tmp_path, name, random_images)
        file = tmp_path / "cifar-10-batches-py/test_batch"
    elif name == "svhn":
        file = tmp_path / "test_32x32.mat"
        savemat(file, {"X": random_images(32, 32, 3, 20), "y": np.ones((20, 1), np.uint8)})
    else:
        file = tmp_path / "stl10_binary/test_X.bin"
        file.parent.mkdir()
        file.write_bytes(random_images(2, 27648).tobytes())
        (tmp_path / "stl10_binary/test_y.bin").write_bytes(b"\1\2")
    damage(file)
    with pytest.raises(BadInput) as error:
        load_dataset(name.partition(".")[0], data_dir=tmp_path)
    assert file.name in str(error.value)
    assert len(str(error.value)) < 600
    assert "\n" not in str(error.value)


def test_labels_outside_the_classes_are_refused(tmp_path: Path, random_images: Images) -> None:
    write_mnist(tmp_path, "MNIST", random_images)
    write_idx(tmp_path / "MNIST/raw/t10k-labels-idx1-ubyte", np.full(30, 10, np.uint8))
    with pytest.raises(BadInput, match=r"0 \.\. 9"):
        load_dataset("mnist", data_dir=tmp_path)


def test_the_embedded_digits_are_the_documented_split() -> None:
    """897 + 900 = 1797 scans; uint8 round(v * 255 / 16) of v = 0..16 has 17 values, 16 apart or 15."""
    sizes = {split: len(load_dataset("digits", split)) for split in ("train", "validation", "test")}
    assert sizes == {"train": 797, "validation": 100, "test": 900}
    test = load_dataset("digits")
    assert np.bincount(test.y).tolist() == [90] * 10
    assert np.bincount(load_dataset("digits", "validation").y).tolist() == [10] * 10
    values = set(np.unique(test.pixels(range(900)).numpy()).tolist())
    assert values == {round(v * 255 / 16) for v in range(17)}
    assert test.sha256.startswith("39c54d1e"), "the test split must never change: published figures depend on it"


def test_the_digits_are_those_of_scikit_learn() -> None:
    from sklearn.datasets import load_digits

    original = np.rint(load_digits().images * (255 / 16)).astype(np.uint8)
    stored = np.concatenate(
        [load_dataset("digits", split).pixels(range(n)).numpy()[:, 0]
         for split, n in (("train", 797), ("validation", 100), ("test", 900))]
    )  # fmt: skip
    assert sorted(image.tobytes() for image in stored) == sorted(image.tobytes() for image in original)
