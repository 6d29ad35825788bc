"""Training batches: shuffled, augmented and sharded, every choice a function of (seed, sample, epoch).

A set in memory is put on the device once, as it is stored (uint8); augmentation then is a few gathers there for the
whole batch. Image files are streamed. No number depends on how many processes share the work or on where an epoch was
resumed.

Shape key: N samples, B rows of a batch, b this process's rows, C H W image.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from fairbench import distributed
from fairbench.data.dataset import ArrayDataset, Dataset, to_unit
from fairbench.errors import BadInput, unknown
from fairbench.sample_random import SampleRandom


@dataclass(frozen=True)
class Augmentation:
    """A random shift after padding, and a horizontal flip with probability one half.

    Attributes:
        padding: pixels added on each side before a window of the old size is cut at random.
        mode: what the padding holds.
        flip: whether images are mirrored.
    """

    padding: int = 0
    mode: Literal["zero", "reflect"] = "zero"
    flip: bool = False

    def __call__(self, x: Tensor, random: SampleRandom) -> Tensor:
        """Return augmented (B, C, H, W) pixels of the same type; B independent draws, no loop over samples.

        Raises:
            BadInput: reflection needs images larger than the padding.
        """
        if not self.padding and not self.flip:
            return x
        height, width = x.shape[2:]
        if self.mode == "reflect" and self.padding >= min(height, width):
            raise BadInput(
                f"reflecting {self.padding} pixels needs images larger than that, but these are {height}x{width}; "
                "choose another augmentation."
            )
        shift = random.fork("crop").integers((2,), 2 * self.padding + 1) - self.padding
        rows = torch.arange(height, device=x.device) + shift[:, :1]
        columns = torch.arange(width, device=x.device) + shift[:, 1:]
        if self.flip:
            mirrored = random.fork("flip").integers((1,), 2).bool()
            columns = torch.where(mirrored, columns.flip(1), columns)
        inside = ((rows >= 0) & (rows < height))[:, None, :, None] & ((columns >= 0) & (columns < width))[:, None, None]
        if self.mode == "reflect":
            rows, columns = _reflect(rows, height), _reflect(columns, width)
        samples = torch.arange(len(x), device=x.device)[:, None, None, None]
        channels = torch.arange(x.shape[1], device=x.device)[None, :, None, None]
        moved = x[
            samples, channels, rows.clamp(0, height - 1)[:, None, :, None], columns.clamp(0, width - 1)[:, None, None]
        ]
        return moved if self.mode == "reflect" else moved * inside


def _reflect(place: Tensor, length: int) -> Tensor:
    """Return the place mirrored at the outermost pixels: -1 is 1, length is length - 2."""
    place = place.abs()
    return torch.where(place >= length, 2 * (length - 1) - place, place)


AUGMENTATIONS: dict[str, Augmentation] = {
    "none": Augmentation(),
    "crop": Augmentation(padding=4),
    "flip": Augmentation(flip=True),
    "crop-flip": Augmentation(padding=4, flip=True),
    "crop-flip-reflect": Augmentation(padding=4, mode="reflect", flip=True),
}


class TrainingBatches:
    """The batches of every epoch; the last, uneven one is kept.

    With several processes each yields its share of every batch: rows rank, rank + world size, ... of the batch that one
    process would see; a share of the last batch may be empty.

    Args:
        dataset: the samples; an `ArrayDataset` moves to the device once.
        batch_size: rows of one step over all processes.
        seed: of order and augmentation.
        device: where x, y and index are.
        augment: a name in `AUGMENTATIONS`.

    Raises:
        BadInput: a batch size below 1, or an unknown augmentation.
    """

    def __init__(
        self,
        dataset: Dataset,
        *,
        batch_size: int,
        seed: int,
        device: torch.device | str = "cpu",
        augment: str = "none",
    ) -> None:
        if batch_size < 1:
            raise BadInput(f"the batch size must be at least 1, but is {batch_size}.")
        if augment not in AUGMENTATIONS:
            raise unknown("augmentation", augment, AUGMENTATIONS)
        self.dataset, self.batch_size, self.seed = dataset, batch_size, seed
        self.device, self.augment = torch.device(device), AUGMENTATIONS[augment]
        self._pixels = dataset.x.to(self.device) if isinstance(dataset, ArrayDataset) else None
        self._y = torch.from_numpy(dataset.y).to(self.device)
        self._index = torch.from_numpy(dataset.index).to(self.device)

    def __len__(self) -> int:
        """Return how many batches an epoch has."""
        return (len(self.dataset) + self.batch_size - 1) // self.batch_size

    def order(self, epoch: int) -> Tensor:
        """Return (N,) int64: the epoch's order of positions, on the CPU; a function of (seed, index, epoch)."""
        index = torch.from_numpy(self.dataset.index)
        first = SampleRandom(self.seed, "order", index, epoch=epoch).uniform((2,))
        # 48 random bits; float64 holds them exactly.
        return torch.argsort(first[:, 0].double() + first[:, 1].double() * 2.0**-24, stable=True)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Yield (x, y, index) from batch number `start` on: (b, C, H, W) float32 in [0, 1], (b,) and (b,) int64."""
        order = self.order(epoch)
        world = distributed.world_size()
        rank = distributed.rank() % world  # RANK may be set where nobody joined the processes
        shares = [order[k * self.batch_size : (k + 1) * self.batch_size][rank::world] for k in range(start, len(self))]
        for rows, pixels in zip(shares, self._blocks(shares), strict=True):
            rows = rows.to(self.device)
            index = self._index[rows]
            random = SampleRandom(self.seed, "augment", index, epoch=epoch)
            yield to_unit(self.augment(pixels, random)), self._y[rows], index

    def _blocks(self, shares: list[Tensor]) -> Iterator[Tensor]:
        if self._pixels is not None:
            for rows in shares:
                yield self._pixels[rows.to(self.device)]
        else:
            for pixels in self.dataset.stream([rows.numpy().astype(np.int64) for rows in shares]):
                yield pixels.to(self.device)
