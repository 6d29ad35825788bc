"""The state of an attack that is under way: cut down to the samples that are left, saved, and taken up again.

An attack offers its state after every iteration; a memory decides whether to keep it. Since all noise is keyed by
sample and iteration, an attack that continues from a saved state ends with the same bits as one that was not disturbed.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol, Self

import torch
from safetensors.torch import load_file, save
from torch import Tensor

from fairbench.whole_file import write_whole

#: What has to survive: tensors by name.
Saved = Mapping[str, Tensor]


class AttackMemory(Protocol):
    """Where an attack's state goes. One memory serves one call of one attack on one batch."""

    def recall(self) -> Saved | None:
        """Return the state to continue from; None: begin."""

    def offer(self, state: Callable[[], Saved] | None, done: float) -> None:
        """Take note that `state()` could be saved now; calling it waits for the device, so it should be rare.

        Args:
            state: what to save; None where the attack cannot be interrupted just now.
            done: the share of the attack's work that is behind it, as if no sample left, 0 to 1.
        """


#: How old a state in a file may be.
SECONDS = 60.0


class FileMemory:
    """A memory in one file, written whole about every `seconds` seconds; the clock starts with the first offer.

    The file is the caller's to delete once the attack's result is safe (`forget`).
    """

    def __init__(self, path: Path, *, seconds: float | None = None) -> None:
        self.path, self.seconds = Path(path), SECONDS if seconds is None else seconds
        self._last: float | None = None

    def recall(self) -> Saved | None:
        """Return what the file holds, on the CPU; None where there is no file."""
        return load_file(self.path) if self.path.exists() else None

    def offer(self, state: Callable[[], Saved] | None, done: float) -> None:
        """Write the state if the last one is `seconds` old.

        Raises:
            WriteFailed: the disk is full.
        """
        now = time.monotonic()
        if self._last is None:
            self._last = now
        if state is not None and now - self._last >= self.seconds:
            write_whole(self.path, save(dict(state())))
            self._last = time.monotonic()

    def forget(self) -> None:
        """Delete the file."""
        self.path.unlink(missing_ok=True)


@dataclasses.dataclass
class RowState:
    """Base of an attack's state: a dataclass of tensors whose first dimension is the samples left, and of numbers."""

    def keep(self, rows: Tensor) -> None:
        """Keep only some of the samples, given as a mask or as indices."""
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(value, Tensor):
                setattr(self, field.name, value[rows])

    def saved(self, name: str) -> dict[str, Tensor]:
        """Return copies of everything under "<name>.<field>", on the CPU."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {
            f"{name}.{key}": value.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)
            if isinstance(value, Tensor)
            else torch.tensor(value, dtype=torch.float64 if isinstance(value, float) else torch.int64)
            for key, value in values.items()
        }

    @classmethod
    def recalled(cls, name: str, saved: Saved, like: Tensor) -> Self:
        """Return the state that `saved` gave, on the device and in the memory layout of `like`."""
        values: dict[str, Tensor | float] = {}
        for field in dataclasses.fields(cls):
            value = saved[f"{name}.{field.name}"]
            values[field.name] = laid_out(value.to(like.device), like) if field.type == "Tensor" else value.item()
        return cls(**values)


def laid_out(value: Tensor, like: Tensor) -> Tensor:
    """Return `value` in the memory layout of the images `like`; sums over pixels round as the layout goes."""
    if value.ndim != 4 or like.ndim != 4:
        return value.contiguous()
    channels_last = not like.is_contiguous() and like.is_contiguous(memory_format=torch.channels_last)
    return value.contiguous(memory_format=torch.channels_last if channels_last else torch.contiguous_format)


def overwrite(values: Tensor, mask: Tensor, source: Tensor) -> None:
    """Copy the rows of `source` where `mask` (B,) holds into `values`, in place, without waiting for a device."""
    if values.is_cuda:
        torch.where(mask.reshape(-1, *[1] * (values.ndim - 1)), source, values, out=values)
        return
    rows = mask.nonzero()[:, 0]
    if len(rows):
        values.index_copy_(0, rows, source.index_select(0, rows))
