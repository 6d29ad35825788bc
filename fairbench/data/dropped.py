"""A data set without some of its classes: the labels of the rest are numbered anew, and the map back is kept.

What a network learns and is asked has K' < K classes; what is written about it has the original numbers and names, so
that it can be laid beside the run with all classes. Samples keep their identity (`index`).

Shape key: N samples, K original classes, K' kept ones, C H W image.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from fairbench.data.dataset import Dataset, Split
from fairbench.errors import BadInput, unknown
from fairbench.outcomes import Outcomes
from fairbench.sample_random import SampleRandom


class WithoutClasses(Dataset):
    """The samples of `kept` classes, labelled 0 .. K'-1 in that order.

    `kept` holds the original label of each new one, and `original_names` the names of all K classes.
    """

    def __init__(self, base: Dataset, kept: Sequence[int]) -> None:
        self.kept, self.original_names = tuple(int(c) for c in kept), base.class_names
        renumbered = np.full(base.num_classes, -1, dtype=np.int64)
        renumbered[list(self.kept)] = np.arange(len(self.kept))
        self._rows = np.flatnonzero(renumbered[base.y] >= 0)
        self._base, self.y = base, renumbered[base.y[self._rows]]
        self.index, self.shape, self.name, self.split = base.index[self._rows], base.shape, base.name, base.split
        self.class_names = tuple(base.class_names[c] for c in self.kept)
        gone = [name for c, name in enumerate(base.class_names) if c not in self.kept]
        self._gone = f"without {', '.join(gone)}"
        self.selection = f"{base.selection}, {self._gone}"

    def pixels(self, positions: Sequence[int] | npt.NDArray[np.int64]) -> Tensor:
        """Return (b, C, H, W) pixels of the samples at `positions`."""
        return self._base.pixels(self._rows[np.asarray(positions, dtype=np.int64)])

    def stream(self, blocks: Sequence[npt.NDArray[np.int64]]) -> Iterator[Tensor]:
        """Yield the pixels of each block of positions, as the whole data set reads them."""
        return self._base.stream([self._rows[block] for block in blocks])

    def take(self, positions: npt.NDArray[np.int64], *, selection: str, split: Split | None = None) -> WithoutClasses:
        """Return the samples at `positions`; the classes stay as they are."""
        return WithoutClasses(self._base.take(self._rows[positions], selection=selection, split=split), self.kept)

    @property
    def sha256(self) -> str:
        """Return the fingerprint of the samples and of the map."""
        samples = self._base.take(self._rows, selection="").sha256
        return hashlib.sha256(f"{samples} {self.kept}".encode()).hexdigest()

    def describe(self) -> dict[str, Any]:
        """Return the "dataset" entry of run.json, with the original names and numbers."""
        return {
            **super().describe(), "num_classes": len(self.original_names), "class_names": list(self.original_names),
            "kept_classes": list(self.kept),
        }  # fmt: skip


def drop_classes(data: Dataset, names: Sequence[str], *, option: str = "--drop-classes") -> WithoutClasses:
    """Return the data set without the classes of these names, which `option` gave.

    Raises:
        BadInput: an unknown class, one named twice, or fewer than two classes left.
    """
    for name in names:
        if name not in data.class_names:
            raise unknown("class", name, data.class_names)
    if len(set(names)) < len(names):
        raise BadInput(f"{option} names a class twice: {', '.join(names)[:100]}.")
    kept = [c for c, name in enumerate(data.class_names) if name not in names]
    if len(kept) < 2:
        raise BadInput(f"a network needs two classes at least, but {len(kept)} of {data.num_classes} are left.")
    return WithoutClasses(data, kept)


def control_classes(data: Dataset, names: Sequence[str], draw: int) -> tuple[str, ...]:
    """Return as many other classes as `names` has, drawn at random by the number `draw`, in the order of labels.

    Raises:
        BadInput: an unknown class, one named twice, or fewer other classes than that.
    """
    drop_classes(data, names, option="--drop-control")
    others = [c for c, name in enumerate(data.class_names) if name not in names]
    if len(others) < len(names):
        raise BadInput(f"a control of {len(names)} classes needs as many others, but there are {len(others)}.")
    order = SampleRandom(draw, "control classes", torch.tensor(others)).uniform((1,))[:, 0].argsort(stable=True)
    return tuple(data.class_names[c] for c in sorted(others[place] for place in order[: len(names)].tolist()))


def keep_classes(data: Dataset, kept: object, *, what: str) -> WithoutClasses:
    """Return the data set of the original labels `kept`, as a sidecar lists them; `what` is what messages call it.

    Raises:
        BadInput: no list of two or more labels of this data set, in ascending order.
    """
    good = isinstance(kept, list) and all(type(c) is int and 0 <= c < data.num_classes for c in kept)
    if not good or not isinstance(kept, list) or len(kept) < 2 or sorted(set(kept)) != kept:
        raise BadInput(
            f"{what} must list at least two labels of 0 .. {data.num_classes - 1} in ascending order as kept_classes, "
            f"but says {str(kept)[:60]}."
        )
    return WithoutClasses(data, kept)


def restored(outcomes: Outcomes, kept: Sequence[int]) -> Outcomes:
    """Return the table with the original numbers of labels and predictions."""
    original = np.asarray(kept, dtype=np.int32)
    frame = outcomes.frame
    return Outcomes(frame.assign(label=original[frame["label"]], prediction=original[frame["prediction"]]))
