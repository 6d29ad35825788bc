"""eval, diagnose and report on MNIST, CIFAR-10, CIFAR-100, SVHN, STL-10 and ImageNet: the same commands.

The files are small and generated, in the true form on disk. Each image is one grey or colour that its label gives, so
that what the network must have seen is known, and predictions can be worked out without any reader.
"""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.io import savemat

from fairbench.cli import run
from fairbench.data.class_names import CIFAR100
from fairbench.runs import read_run

FACTORY = """
from torch import nn
def build():
    return nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear({width}, {classes}))
"""
WNIDS = [f"n{number:08d}" for number in range(1000)]


def colour(label: int, channels: int) -> tuple[int, ...]:
    """One colour per label, far enough apart to survive JPEG."""
    spread = (10 + 23 * (label % 10), 10 + 23 * (label // 10 % 10), 10 + 23 * (label // 100))
    return spread[:channels] if channels == 3 else (10 + 23 * label,)


def pixels(labels: list[int], channels: int, side: int) -> np.ndarray:
    """Return (N, C, H, W)."""
    found = np.zeros((len(labels), channels, side, side), np.uint8)
    for place, label in enumerate(labels):
        found[place] = np.array(colour(label, channels)).reshape(-1, 1, 1)
    return found


def mnist(root: Path, labels: list[int]) -> None:
    (root / "MNIST/raw").mkdir(parents=True)
    for name, values in (("images-idx3", pixels(labels, 1, 28)[:, 0]), ("labels-idx1", np.array(labels, np.uint8))):
        head = bytes((0, 0, 8, values.ndim)) + np.array(values.shape, ">u4").tobytes()
        (root / f"MNIST/raw/t10k-{name}-ubyte").write_bytes(head + values.tobytes())


def cifar(place: str, key: str) -> Callable[[Path, list[int]], None]:
    def write(root: Path, labels: list[int]) -> None:
        path = root / place
        path.parent.mkdir(parents=True)
        path.write_bytes(pickle.dumps({"data": pixels(labels, 3, 32).reshape(-1, 3072), key: labels}, protocol=2))

    return write


def svhn(root: Path, labels: list[int]) -> None:
    """The digit 0 has the label 10; images are (H, W, C, N)."""
    written = np.array([label or 10 for label in labels], np.uint8)[:, None]
    savemat(root / "test_32x32.mat", {"X": pixels(labels, 3, 32).transpose(2, 3, 1, 0), "y": written})


def stl10(root: Path, labels: list[int]) -> None:
    """Labels begin at 1; columns come before rows."""
    (root / "stl10_binary").mkdir()
    (root / "stl10_binary/test_X.bin").write_bytes(pixels(labels, 3, 96).transpose(0, 1, 3, 2).tobytes())
    (root / "stl10_binary/test_y.bin").write_bytes((np.array(labels, np.uint8) + 1).tobytes())


def imagenet(root: Path, labels: list[int]) -> None:
    for label in labels:
        (root / "imagenet/val" / WNIDS[label]).mkdir(parents=True)
        path = root / "imagenet/val" / WNIDS[label] / f"ILSVRC2012_val_{label:08d}.JPEG"
        Image.new("RGB", (300, 260), colour(label, 3)).save(path, quality=100, subsampling=0)


@dataclass(frozen=True)
class Case:
    """A data set: its writer, (C, H, W), K, labels on disk, radius, some class names, and some superclasses."""

    write: Callable[[Path, list[int]], None]
    shape: tuple[int, int, int]
    classes: int
    labels: list[int]
    eps: str
    names: dict[int, str]
    superclasses: tuple[str, ...]


TWO_EACH = [label for label in range(10) for _ in (0, 1)]
CASES = {
    "mnist": Case(mnist, (1, 28, 28), 10, TWO_EACH, "0.3", {0: "0", 9: "9"}, ()),
    "cifar10": Case(
        cifar("cifar-10-batches-py/test_batch", "labels"), (3, 32, 32), 10, TWO_EACH[::-1], "8/255",
        {0: "airplane", 3: "cat", 9: "truck"}, ("animals", "vehicles"),
    ),
    "cifar100": Case(
        cifar("cifar-100-python/test", "fine_labels"), (3, 32, 32), 100, [*range(100), *range(100)], "8/255",
        {0: "apple", 58: "pickup_truck", 99: "worm"}, ("aquatic mammals", "vehicles 2"),
    ),
    # Real SVHN's classes differ in size, too.
    "svhn": Case(svhn, (3, 32, 32), 10, [0, 1, 1, 1, *range(10), 9], "8/255", {0: "0", 9: "9"}, ()),
    "stl10": Case(
        stl10, (3, 96, 96), 10, TWO_EACH, "8/255", {0: "airplane", 2: "car", 7: "monkey"}, ("animals", "vehicles")
    ),
    "imagenet": Case(
        imagenet, (3, 224, 224), 1000, [*range(1000)], "4/255", {0: "tench", 517: "crane", 999: "toilet tissue"}, ()
    ),
}  # fmt: skip


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    # The generated folders stand for ImageNet's: the list of its wnids is not shipped, only its hash.
    digest = sha256("\n".join(WNIDS).encode()).hexdigest()
    monkeypatch.setattr("fairbench.data.imagenet_names.WNIDS_SHA256", digest)
    return tmp_path


def network(case: Case, folder: Path) -> None:
    """Write a network that takes the class with the nearest colour, -|x - colour|^2 over 2x2 cells, with a factory."""
    colours = torch.tensor([colour(label, case.shape[0]) for label in range(case.classes)]).float() / 255
    cells = colours.repeat_interleave(4, dim=1)
    torch.save({"2.weight": 20 * cells, "2.bias": -10 * (cells**2).sum(1)}, folder / "net.pt")
    (folder / "net.py").write_text(FACTORY.format(width=cells.shape[1], classes=case.classes))


#: A thousand images of 224x224 take minutes on a busy CPU, so the default tier shows the same files at 28x28.
SMALL = {"resize": 32, "crop": 28, "interpolation": "bilinear"}
USUAL = {"resize": 256, "crop": 224, "interpolation": "bilinear"}


@pytest.mark.parametrize(
    ("name", "preprocess"),
    [
        *((name, SMALL if name == "imagenet" else None) for name in CASES),
        pytest.param("imagenet", USUAL, marks=pytest.mark.slow),
    ],
)
def test_eval_diagnose_and_report(name: str, preprocess: dict[str, Any] | None, place: Path) -> None:
    case = CASES[name]
    (place / "data").mkdir()
    case.write(place / "data", case.labels)
    network(case, place)
    asked = ["eval", "net.pt", "--model", "net.py:build", "--dataset", name, "--data-dir", "data", "--attacks", "fgsm"]
    asked += ["--resize", "32", "--crop", "28"] if preprocess == SMALL else []
    asked += ["--threads", "1", "--out", "run"]
    assert run(asked) == 0

    found = read_run(place / "run")
    record, table = found.record, found.outcomes
    assert (record["threat"]["norm"], record["threat"]["eps_text"]) == ("Linf", case.eps)
    assert (record["dataset"]["num_classes"], record["dataset"]["count"]) == (case.classes, len(case.labels))
    assert len({*found.class_names}) == case.classes
    assert {label: found.class_names[label] for label in case.names} == case.names
    assert record["dataset"].get("preprocess") == preprocess
    natural, fgsm = table.of("natural"), table.of("fgsm")
    assert natural.label.tolist() == case.labels
    # An image shows its label's colour, which the network knows: another order of labels or channels has errors.
    assert natural.prediction.tolist() == case.labels
    numerator, _, denominator = case.eps.partition("/")
    eps = float(numerator) / float(denominator or 1)
    assert fgsm.linf.max() == pytest.approx(eps, rel=1e-4)

    assert run(["diagnose", "run"]) == 0
    known = superclasses(place / "run")
    assert {*case.superclasses} <= {*known}
    assert bool(known) == bool(case.superclasses)
    if not known:  # a person's file gives them
        half = case.classes // 2
        halves = {"low": found.class_names[:half], "high": found.class_names[half:]}
        (place / "own.json").write_text(json.dumps(halves))
        assert run(["diagnose", "run", "--superclasses", "own.json"]) == 0
        assert superclasses(place / "run") == ["low", "high"]
    assert run(["report", "run", "--out", "report.html"]) == 0
    page = (place / "report.html").read_text()
    for class_name in case.names.values():
        assert class_name in page


def superclasses(folder: Path) -> list[str]:
    found: dict[str, Any] | None = json.loads((folder / "diagnosis.json").read_text())["superclasses"]
    return [] if found is None else list(found["names"])


@pytest.mark.slow
def test_a_hundred_real_classes(real_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """CIFAR-100's classes, 50 images of each to train and 20 to test: names, order and superclasses are the real ones.

    If labels and names did not belong together, errors would fall on a class's kin no more often than on others.
    """
    folder = real_data / "cifar100_small"
    if not folder.is_dir():
        pytest.skip("FAIRBENCH_DATA holds no cifar100_small")
    monkeypatch.chdir(tmp_path)
    asked = ["train", "--dataset", f"npz:{folder}", "--method", "natural", "--model", "small-cnn", "--epochs", "12"]
    assert run([*asked, "--lr", "0.03", "--eps", "8/255", "--out", "made", "--name", "net"]) == 0
    attacks = ["--attacks", "fgsm,pgd10", "--eps", "8/255"]
    assert run(["eval", "made/net.pt", *attacks, "--threads", "1", "--out", "run"]) == 0

    found = read_run(tmp_path / "run")
    assert tuple(found.class_names) == CIFAR100
    assert found.record["threat"]["eps_text"] == "8/255"
    table = found.outcomes
    assert np.bincount(table.of("natural").label, minlength=100).tolist() == [20] * 100
    right = int(table.robust("natural").sum())
    assert right > 80  # of 2,000; 20 by chance, with a standard deviation of 4.4

    assert run(["diagnose", "run"]) == 0
    kin = json.loads((tmp_path / "run/diagnosis.json").read_text())["kin"]
    assert len(superclasses(tmp_path / "run")) == 20
    low, _ = kin["interval"]
    assert low > kin["if_spread"]
    assert run(["report", "run", "--out", "report.html"]) == 0
    assert "willow_tree" in (tmp_path / "report.html").read_text()
