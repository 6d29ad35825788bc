"""A person's own arrays: `npz:FILE` and `npz:FOLDER`.

A file holds `x`, uint8 (N, H, W) or (N, H, W, C) with C = 1 or 3, integer labels `y` (N,), and perhaps `class_names`
(K,). What the headers say is checked before any array is read, and nothing is ever unpickled. Other arrays are ignored.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from fairbench.data.dataset import ArrayDataset
from fairbench.errors import BadInput

Part = Literal["train", "test"]
_LARGEST = 1 << 40  # bytes; no machine holds more


def read_npz(path: Path, part: Part, *, name: str) -> ArrayDataset:
    """Return one part of a file (test only) or a folder holding test.npz and train.npz or train-0.npz, train-1.npz, ...

    Raises:
        BadInput: missing or unreadable files, object arrays, wrong types or shapes, labels outside the classes, shards
            with a gap or with other class names.
    """
    if not path.exists():
        raise BadInput(f"{name[:200]} does not exist; give an .npz file with x and y, or a folder with test.npz.")
    if not path.is_dir():
        if part == "train":
            raise BadInput(
                f"{name[:200]} is one file, which is for evaluation only; to train, give a folder with train.npz "
                "and test.npz."
            )
        files, everything = [path], [path]
    else:
        trains = _train_files(path)
        tests = [path / "test.npz"] if (path / "test.npz").exists() else []
        files, everything = (trains if part == "train" else tests), trains + tests
        if not files:
            wanted = "train.npz or train-0.npz, train-1.npz, ..." if part == "train" else "test.npz"
            raise BadInput(f"the folder of {name[:200]} holds no {wanted}; put it there, or give another folder.")
    opened = {file: _Arrays(file) for file in everything}
    names = _class_names(name, [opened[file] for file in everything])
    images = [opened[file].images() for file in files]
    if len({image.shape[1:] for image in images}) > 1:
        raise BadInput(
            f"the shards of {name[:200]} differ in image size: {sorted({image.shape[1:] for image in images})[:2]}."
        )
    x = images[0] if len(images) == 1 else np.concatenate(images)
    y = np.concatenate([opened[file].labels() for file in files])
    return ArrayDataset(x.transpose(0, 3, 1, 2), y, class_names=names, name=name, split=part)


def _train_files(folder: Path) -> list[Path]:
    whole = [folder / "train.npz"] if (folder / "train.npz").exists() else []
    numbered = {
        int(match[1]): file
        for file in sorted(folder.iterdir())
        if (match := re.fullmatch(r"train-(\d{1,6})\.npz", file.name, re.ASCII))
    }
    if whole and numbered:
        raise BadInput(f"{str(folder)[:200]} holds both train.npz and train-{min(numbered)}.npz; keep one of the two.")
    missing = [i for i in range(max(numbered, default=-1) + 1) if i not in numbered]
    if missing:
        raise BadInput(
            f"{str(folder)[:200]} holds shards up to train-{max(numbered)}.npz, but train-{missing[0]}.npz is missing."
        )
    return whole or [numbered[i] for i in sorted(numbered)]


def _class_names(name: str, files: Sequence[_Arrays]) -> tuple[str, ...]:
    """Return the names that the files agree on; without any, "0", "1", ... up to the largest label of all files."""
    given = {names for file in files if (names := file.class_names()) is not None}
    if len(given) > 1:
        raise BadInput(f"the files of {name[:200]} disagree about class_names; store the same names in each.")
    if given:
        return given.pop()
    labels = [file.labels() for file in files]
    first, last = min(int(y.min()) for y in labels), max(int(y.max()) for y in labels)
    if first > 0:
        # Nobody can tell classes without images from labels that count from 1, as in other languages.
        raise BadInput(
            f"{name[:200]} has labels from {first} to {last} and no class_names; labels count from 0: subtract "
            f"{first}, or, where the classes before have no images, add class_names (K texts) that name them all."
        )
    return tuple(str(c) for c in range(last + 1))


class _Arrays:
    """An .npz archive whose headers have been checked."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.headers = _headers(path)
        for wanted in ("x", "y"):
            if wanted not in self.headers:
                raise self._bad(f"has no array {wanted!r}, only {', '.join(sorted(self.headers))[:100] or 'nothing'}")
        shape, dtype = self.headers["x"]
        if dtype != np.uint8 or len(shape) not in (3, 4) or 0 in shape or (len(shape) == 4 and shape[3] not in (1, 3)):
            hint = "; transpose x to put the channels last" if len(shape) == 4 and shape[1] in (1, 3) else ""
            hint = "; multiply pixels in [0, 1] by 255 and round" if dtype.kind == "f" else hint
            raise self._bad(f"holds x as {dtype} of shape {shape}{hint}")
        labels, kind = self.headers["y"]
        if kind.kind not in "iu" or labels != shape[:1]:
            raise self._bad(f"holds {shape[0]} images, but y as {kind} of shape {labels}")
        if "class_names" in self.headers and (
            self.headers["class_names"][1].kind != "U" or len(self.headers["class_names"][0]) != 1
        ):
            shape, dtype = self.headers["class_names"]
            raise self._bad(f"holds class_names as {dtype} of shape {shape}")

    def images(self) -> npt.NDArray[np.uint8]:
        """Return (N, H, W, C)."""
        x: npt.NDArray[np.uint8] = self._read("x")
        return x[..., None] if x.ndim == 3 else x

    def labels(self) -> npt.NDArray[np.int64]:
        y = self._read("y")
        if y.min() < 0 or y.max() >= 1 << 20:
            raise self._bad(f"holds labels from {y.min()} to {y.max()}")
        return np.asarray(y.astype(np.int64))

    def class_names(self) -> tuple[str, ...] | None:
        if "class_names" not in self.headers:
            return None
        names = tuple(str(name) for name in self._read("class_names"))
        if len(set(names)) != len(names) or not names:
            raise self._bad("holds class_names that are empty or not all different")
        return names

    def _read(self, name: str) -> Any:
        try:
            with np.load(self.path, allow_pickle=False) as archive:
                return archive[name]
        except MemoryError as error:
            raise self._bad(f"holds {name!r} with shape {self.headers[name][0]}, more than memory can take") from error
        except Exception as error:  # zlib, zipfile and NumPy each have errors of their own
            raise self._bad(f"holds a damaged array {name!r} ({' '.join(str(error).split())[:100]})") from error

    def _bad(self, what: str) -> BadInput:
        return BadInput(
            f"{str(self.path)[:200]} {what}; it must hold x uint8 (N, H, W) or (N, H, W, C) with C 1 or 3, "
            "integer labels y (N,) from 0, and may hold class_names (K different texts)."
        )


def _headers(path: Path) -> dict[str, tuple[tuple[int, ...], np.dtype[Any]]]:
    """Return {name: (shape, dtype)} of every array without reading one.

    Raises:
        BadInput: no archive, a name that occurs twice, an object array, or a header that does not fit its content.
    """
    found: dict[str, tuple[tuple[int, ...], np.dtype[Any]]] = {}
    try:
        with zipfile.ZipFile(path) as archive:
            for member in archive.infolist():
                name = member.filename.removesuffix(".npy")
                if name in found:
                    raise BadInput(
                        f"{str(path)[:200]} holds the array {name[:40]!r} twice; write it again with numpy.savez."
                    )
                with archive.open(member) as file:
                    version = np.lib.format.read_magic(file)
                    read = (
                        np.lib.format.read_array_header_1_0
                        if version == (1, 0)
                        else np.lib.format.read_array_header_2_0
                    )
                    shape, _, dtype = read(file)
                    start = file.tell()
                if dtype.hasobject:
                    raise BadInput(
                        f"{str(path)[:200]} holds the object array {name[:40]!r}, which would have to be unpickled; "
                        "store plain numbers and texts (dtype uint8, int64 or str)."
                    )
                size = int(np.prod(shape, dtype=object)) * dtype.itemsize
                if start + size != member.file_size or size > _LARGEST:
                    raise ValueError(f"{name[:40]!r} should have {size} bytes, but has {member.file_size - start}")
                found[name] = (shape, dtype)
    except BadInput:
        raise
    except Exception as error:  # a damaged archive can raise nearly anything
        reason = " ".join(str(error).split())[:160] or type(error).__name__
        raise BadInput(
            f"{str(path)[:200]} is not a readable .npz archive ({reason}); write it with numpy.savez(x=..., y=...)."
        ) from error
    return found
