"""One split of a data set: pixels by position, labels, names and a fingerprint.

Shape key: N samples of the split, C channels, H height, W width.
"""

from __future__ import annotations

import abc
import hashlib
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from fairbench.errors import BadInput

Split = Literal["train", "validation", "test"]


class Dataset(abc.ABC):
    """Samples 0 .. N-1 of one split. `index[i]` is sample i's place in the source split: its identity everywhere.

    Attributes:
        name: the registry's name, "npz:FILE" or "folder:PATH".
        split: "train", "validation" or "test".
        class_names: K names in order of label.
        y: (N,) int64 labels.
        index: (N,) int64, unique.
        shape: (C, H, W) of one image.
        selection: how the samples were chosen, in words ("all", "first 20 of each class").
    """

    name: str
    split: Split
    class_names: tuple[str, ...]
    y: npt.NDArray[np.int64]
    index: npt.NDArray[np.int64]
    shape: tuple[int, int, int]
    selection: str

    @abc.abstractmethod
    def pixels(self, positions: Sequence[int] | npt.NDArray[np.int64]) -> Tensor:
        """Return the pixels of the samples at `positions`: (b, C, H, W), uint8, or float32 in [0, 1] as given."""

    @abc.abstractmethod
    def take(self, positions: npt.NDArray[np.int64], *, selection: str, split: Split | None = None) -> Dataset:
        """Return the data set of the samples at `positions`, in that order; identities (`index`) are kept."""

    @property
    @abc.abstractmethod
    def sha256(self) -> str:
        """Return a fingerprint of what the samples are (hexadecimal)."""

    def stream(self, blocks: Sequence[npt.NDArray[np.int64]]) -> Iterator[Tensor]:
        """Yield the pixels of each block of positions; a data set on disk reads ahead with workers."""
        for positions in blocks:
            yield self.pixels(positions)

    def __len__(self) -> int:
        return len(self.y)

    @property
    def num_classes(self) -> int:
        """K, the number of class names (a class may have no sample in this split)."""
        return len(self.class_names)

    @property
    def index_sha256(self) -> str:
        """Return the fingerprint of which samples these are: of the sorted source indices."""
        return hashlib.sha256(np.sort(self.index).astype("<i8").tobytes()).hexdigest()

    def first_per_class(self, count: int) -> Dataset:
        """Return the first `count` samples of each class in the data set's order (fewer where a class has fewer).

        Raises:
            BadInput: `count` is below 1.
        """
        if count < 1:
            raise BadInput(f"samples per class must be at least 1, but is {count}.")
        keep = np.concatenate([np.flatnonzero(self.y == c)[:count] for c in range(self.num_classes)])
        return self.take(np.sort(keep), selection=f"first {count} of each class")

    def describe(self) -> dict[str, Any]:
        """Return the "dataset" entry of run.json."""
        return {
            "name": self.name,
            "split": self.split,
            "count": len(self),
            "num_classes": self.num_classes,
            "class_names": list(self.class_names),
            "selection": self.selection,
            "index_sha256": self.index_sha256,
            "sha256": self.sha256,
        }


class ArrayDataset(Dataset):
    """A data set in memory.

    Args:
        x: (N, C, H, W) uint8, or float32 in [0, 1].
        y: (N,) integer labels in 0 .. K-1.
        class_names: K names; "0", "1", ... up to the largest label where None.

    Raises:
        BadInput: shapes, types or labels that do not fit.
    """

    def __init__(
        self,
        x: Tensor | npt.NDArray[Any],
        y: Tensor | npt.NDArray[Any] | Sequence[int],
        *,
        class_names: Sequence[str] | None = None,
        name: str = "arrays",
        split: Split = "test",
        index: npt.NDArray[np.int64] | None = None,
        selection: str = "all",
    ) -> None:
        # torch wants arrays that it may write to; a view of a file's bytes is copied here.
        pixels = x.detach().cpu() if isinstance(x, Tensor) else torch.from_numpy(np.require(x, requirements=["C", "W"]))
        labels = np.asarray(y.detach().cpu() if isinstance(y, Tensor) else y)
        if pixels.ndim != 4 or len(pixels) == 0:
            raise BadInput(f"images of {name} must have the shape (N, C, H, W), but have {tuple(pixels.shape)}.")
        if pixels.dtype not in (torch.uint8, torch.float32):
            raise BadInput(f"images of {name} must be uint8, or float32 in [0, 1], but are {pixels.dtype}.")
        if labels.shape != (len(pixels),) or labels.dtype.kind not in "iu":
            raise BadInput(
                f"labels of {name} must be {len(pixels)} integers, but are {labels.dtype} of shape {labels.shape}."
            )
        names = tuple(class_names) if class_names is not None else tuple(str(c) for c in range(int(labels.max()) + 1))
        if labels.min() < 0 or labels.max() >= len(names):
            raise BadInput(
                f"labels of {name} must lie in 0 .. {len(names) - 1} for {len(names)} classes, "
                f"but range from {labels.min()} to {labels.max()}."
            )
        self.x, self.y, self.class_names = pixels.contiguous(), labels.astype(np.int64), names
        self.name, self.split, self.selection = name, split, selection
        self.index = np.arange(len(labels), dtype=np.int64) if index is None else np.asarray(index, dtype=np.int64)
        self.shape = (int(pixels.shape[1]), int(pixels.shape[2]), int(pixels.shape[3]))

    def pixels(self, positions: Sequence[int] | npt.NDArray[np.int64]) -> Tensor:
        """Return (b, C, H, W) pixels as stored."""
        return self.x[torch.as_tensor(np.asarray(positions, dtype=np.int64))]

    def take(self, positions: npt.NDArray[np.int64], *, selection: str, split: Split | None = None) -> ArrayDataset:
        """Return the samples at `positions` with their identities."""
        return ArrayDataset(
            self.pixels(positions), self.y[positions], class_names=self.class_names, name=self.name,
            split=split or self.split, index=self.index[positions], selection=selection,
        )  # fmt: skip

    @property
    def sha256(self) -> str:
        """Return the hash of type, shape, pixels, labels and identities, in order of identity."""
        order = np.argsort(self.index, kind="stable")
        digest = hashlib.sha256(f"{self.x.dtype} {tuple(self.x.shape)}".encode())
        digest.update(self.x[torch.as_tensor(order)].numpy().tobytes())
        digest.update(self.y[order].astype("<i8").tobytes())
        digest.update(self.index[order].astype("<i8").tobytes())
        return digest.hexdigest()


def to_unit(pixels: Tensor, device: torch.device | str = "cpu") -> Tensor:
    """Return float32 pixels in [0, 1] on `device`: uint8 / 255, float32 unchanged."""
    pixels = pixels.to(device)
    return pixels.to(torch.float32) / 255 if pixels.dtype == torch.uint8 else pixels
