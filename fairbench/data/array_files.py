"""Published data sets that fit in memory, read from the files that torchvision downloads.

torchvision's own classes are not used: they check every part's checksum first (for STL-10 2.6 GB of unlabelled images),
refuse a folder that holds only the test part, and unpickle. The CIFAR pickles are read here by a reader that knows
arrays and nothing else.
"""

from __future__ import annotations

import gzip
import pickle
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np
import numpy.typing as npt

from fairbench.data import class_names
from fairbench.data.dataset import ArrayDataset
from fairbench.data.source import Source, unreadable

Part = Literal["train", "test"]
Pixels = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.int64]


def read_digits(source: Source, part: Part) -> ArrayDataset:
    """Return the scans that lie inside the package; `source` is not looked at."""
    with np.load(Path(__file__).with_name("digits.npz"), allow_pickle=False) as arrays:
        x, y = arrays[f"x_{part}"], arrays[f"y_{part}"]
    return ArrayDataset(x[:, None], y.astype(np.int64), class_names=class_names.DIGITS, name=source.name, split=part)


def read_mnist(source: Source, part: Part) -> ArrayDataset:
    """Return MNIST from MNIST/raw, compressed or not."""
    return _idx(source, part, "MNIST/raw", class_names.DIGITS)


def read_fashion_mnist(source: Source, part: Part) -> ArrayDataset:
    """Return Fashion-MNIST from FashionMNIST/raw, compressed or not."""
    return _idx(source, part, "FashionMNIST/raw", class_names.FASHION_MNIST)


def _idx(source: Source, part: Part, folder: str, names: tuple[str, ...]) -> ArrayDataset:
    stem = f"{folder}/{'train' if part == 'train' else 't10k'}"
    images = source.find(f"{stem}-images-idx3-ubyte", f"{stem}-images-idx3-ubyte.gz")
    labels = source.find(f"{stem}-labels-idx1-ubyte", f"{stem}-labels-idx1-ubyte.gz")
    x, y = _read_idx(images, 3), _read_idx(labels, 1)
    return ArrayDataset(x[:, None], y.astype(np.int64), class_names=names, name=source.name, split=part)


def _read_idx(path: Path, dimensions: int) -> Pixels:
    """Read an IDX file of unsigned bytes: 0 0 8 dimensions, one big-endian length per dimension, the values."""
    expected = f"an IDX file of bytes with {dimensions} dimension(s)"
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, gzip.zlib.error) as error:  # type: ignore[attr-defined]
        raise unreadable(path, error, expected) from error
    start = 4 + 4 * dimensions
    if content[:4] != bytes((0, 0, 8, dimensions)) or len(content) < start:
        raise unreadable(path, f"it begins with {content[:4].hex()}", expected)
    shape = tuple(int(length) for length in np.frombuffer(content, ">u4", dimensions, 4))
    values = np.frombuffer(content, np.uint8, offset=start)
    if len(values) != np.prod(shape, dtype=object):
        raise unreadable(path, f"{len(values)} values for the shape {shape}", expected)
    return values.reshape(shape)


def read_cifar10(source: Source, part: Part) -> ArrayDataset:
    """Return CIFAR-10 from cifar-10-batches-py."""
    files = [f"data_batch_{i}" for i in range(1, 6)] if part == "train" else ["test_batch"]
    return _cifar(source, part, [f"cifar-10-batches-py/{file}" for file in files], "labels", class_names.CIFAR10)


def read_cifar100(source: Source, part: Part) -> ArrayDataset:
    """Return CIFAR-100 with its 100 fine labels from cifar-100-python."""
    return _cifar(source, part, [f"cifar-100-python/{part}"], "fine_labels", class_names.CIFAR100)


def _cifar(source: Source, part: Part, files: list[str], key: str, names: tuple[str, ...]) -> ArrayDataset:
    images: list[Pixels] = []
    labels: list[Labels] = []
    for path in [source.find(file) for file in files]:
        expected = "a CIFAR batch in the Python format"
        try:
            with path.open("rb") as file:
                batch = _ArrayUnpickler(file, encoding="latin1").load()
            x, y = np.asarray(batch["data"]), np.asarray(batch[key])
        except Exception as error:  # a damaged pickle can raise nearly anything
            raise unreadable(path, error, expected) from error
        usable = x.dtype == np.uint8 and x.ndim == 2 and x.shape[1] == 3072
        if not usable or y.dtype.kind not in "iu" or y.shape != x.shape[:1]:
            raise unreadable(path, f"{x.dtype} images {x.shape}, {y.dtype} labels {y.shape}", expected)
        images.append(x.reshape(-1, 3, 32, 32))
        labels.append(y.astype(np.int64))
    return ArrayDataset(np.concatenate(images), np.concatenate(labels), class_names=names, name=source.name, split=part)


class _ArrayUnpickler(pickle.Unpickler):
    """Unpickle dictionaries, lists, texts, numbers and NumPy arrays; nothing else is imported or called."""

    def find_class(self, module: str, name: str) -> Any:
        # numpy.core became numpy._core in NumPy 2; `_frombuffer` is how protocol 5 stores an array.
        if module.replace("_core", "core") in ("numpy", "numpy.core.multiarray", "numpy.core.numeric", "_codecs"):
            allowed = {
                "ndarray": np.ndarray, "dtype": np.dtype, "encode": _latin1,
                "_reconstruct": np.empty(0).__reduce__()[0], "_frombuffer": np.empty(0).__reduce_ex__(5)[0],
            }  # fmt: skip
            if name in allowed:
                return allowed[name]
        raise pickle.UnpicklingError(f"it asks for {module}.{name}, which no array needs")


def _latin1(text: str, encoding: str) -> bytes:
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"it asks for the encoding {encoding!r}")
    return text.encode("latin1")


def read_svhn(source: Source, part: Part) -> ArrayDataset:
    """Return SVHN's cropped digits from {train,test}_32x32.mat; the file's label 10 is the digit 0."""
    path = source.find(f"{part}_32x32.mat", f"svhn/{part}_32x32.mat", f"SVHN/{part}_32x32.mat")
    expected = "an SVHN file with X (32, 32, 3, N) and y"
    from scipy.io import loadmat

    try:
        content = loadmat(path, variable_names=["X", "y"])
        x, y = np.asarray(content["X"]), np.asarray(content["y"]).reshape(-1)
    except Exception as error:  # a damaged file can raise nearly anything
        raise unreadable(path, error, expected) from error
    if x.dtype != np.uint8 or x.ndim != 4 or x.shape[:3] != (32, 32, 3) or y.dtype.kind not in "iu":
        raise unreadable(path, f"X is {x.dtype} {x.shape}, y is {y.dtype}", expected)
    labels = np.where(y == 10, 0, y).astype(np.int64)
    return ArrayDataset(x.transpose(3, 2, 0, 1), labels, class_names=class_names.DIGITS, name=source.name, split=part)


def read_stl10(source: Source, part: Part) -> ArrayDataset:
    """Return STL-10's labelled images from stl10_binary: columns before rows, labels from 1."""
    images = source.find(f"stl10_binary/{part}_X.bin")
    labels = source.find(f"stl10_binary/{part}_y.bin")
    x, y = _bytes(images), _bytes(labels)
    if len(x) != len(y) * 3 * 96 * 96 or len(y) == 0:
        raise unreadable(images, f"{len(x)} bytes for {len(y)} labels", "an STL-10 file of 27648 bytes per label")
    return ArrayDataset(
        x.reshape(-1, 3, 96, 96).transpose(0, 1, 3, 2), y.astype(np.int64) - 1, class_names=class_names.STL10,
        name=source.name, split=part,
    )  # fmt: skip


def _bytes(path: Path) -> Pixels:
    try:
        file: IO[bytes]
        with path.open("rb") as file:
            return np.frombuffer(file.read(), np.uint8)
    except OSError as error:
        raise unreadable(path, error, "readable") from error
