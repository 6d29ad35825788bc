"""Work in blocks: consecutive samples that share one forward, saved one by one, spread over processes.

A *unit* is one attack, or one part of a cascade; the work is units x blocks. A finished block of a unit is on disk
at once, so that a kill loses at most the blocks in progress, and the same command continues. A block's result depends
on the block alone: its samples in ascending order of index, the seed and the settings.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from fairbench import distributed
from fairbench.attacks.attack_memory import AttackMemory
from fairbench.data.dataset import Dataset, to_unit
from fairbench.errors import BadInput, Refused
from fairbench.evaluation.watched import Watched
from fairbench.evaluation.work_left import WorkLeft
from fairbench.outcomes import Outcomes
from fairbench.progress import Progress


@dataclass(frozen=True)
class Block:
    """Samples that share one forward.

    Attributes:
        number: its place in the run.
        positions: (b,) places in the data set, in ascending order of index.
        index: (b,) the samples' identities.
        y: (b,) labels.
    """

    number: int
    positions: npt.NDArray[np.int64]
    index: npt.NDArray[np.int64]
    y: npt.NDArray[np.int64]


def cut(dataset: Dataset, size: int) -> list[Block]:
    """Cut a data set into blocks of `size` consecutive indices; the order of its samples does not matter."""
    order = np.argsort(dataset.index, kind="stable")
    pieces = [order[start : start + size] for start in range(0, len(order), size)]
    return [Block(number, piece, dataset.index[piece], dataset.y[piece]) for number, piece in enumerate(pieces)]


class Store(Protocol):
    """Where finished blocks are kept; `block_size` is the size that counts now."""

    block_size: int

    def holds(self, unit: str, block: Block) -> bool:
        """Return whether a block is finished."""

    def load(self, unit: str, block: Block) -> Outcomes:
        """Return a finished block's rows."""

    def save(self, unit: str, block: Block, rows: Outcomes) -> None:
        """Keep a finished block's rows."""

    def memory(self, unit: str, block: Block) -> AttackMemory | None:
        """Return where an attack on a block keeps its state, until the block is saved."""

    def halve(self) -> None:
        """Halve the block size for good; blocks of the old size no longer count."""


def _is_out_of_memory(error: BaseException) -> bool:
    # The CPU's allocator raises a plain RuntimeError.
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or (
        isinstance(error, RuntimeError) and "can't allocate memory" in str(error)
    )


@dataclass(frozen=True)
class Work:
    """A block as a unit sees it.

    Attributes:
        x: (b, C, H, W) pixels, in ascending order of `index`.
        y: (b,) labels.
        index: (b,) the samples' identities.
        before: the rows of the unit before, where there is one.
        memory: takes an attack's state now and then, gives it back after an interruption, and shows how far it is.
    """

    x: Tensor
    y: Tensor
    index: Tensor
    before: Outcomes | None = None
    memory: AttackMemory | None = None


@dataclass(frozen=True)
class Unit:
    """One attack, or one part of a cascade.

    Attributes:
        name: in the table.
        compute: attacks a block.
        before: the unit whose rows it needs.
        cost: per sample, see `work_left`.
    """

    name: str
    compute: Callable[[Work], Outcomes]
    before: str | None = None
    cost: float = 1.0


def run_units(
    units: Sequence[Unit], *, dataset: Dataset, store: Store, device: torch.device, progress: Progress
) -> list[Outcomes]:
    """Compute what is unfinished, in the order of `units`, and return each unit's rows, of all processes, on each.

    After an out-of-memory error on any process the block size is halved and the work begins again: the result is
    that of a run with the smaller size.

    Raises:
        BadInput: a single image does not fit into memory.
        Refused: "pixel-range": pixels outside [0, 1].
    """
    while True:
        blocks = cut(dataset, store.block_size)
        mine = [block for block in blocks if block.number % distributed.world_size() == distributed.rank()]
        work = WorkLeft(
            [(unit.name, unit.cost, unit.before) for unit in units], sum(len(block.index) for block in mine)
        )
        progress.whole(0.0, anew=True)
        if len(blocks) < distributed.world_size():
            progress.say(
                f"only {len(blocks)} of {distributed.world_size()} processes have work: all images are {len(blocks)} "
                f"block(s) of {store.block_size}; a smaller --batch-size makes more of them"
            )
        fits = all(_run_unit(unit, mine, dataset, store, device, progress, work) for unit in units)
        if all(distributed.gather_objects(fits)):
            return [_gather(unit.name, mine, store) for unit in units]
        if store.block_size == 1:
            raise BadInput("one image with its attack does not fit into memory; use another device or a smaller model.")
        store.halve()
        progress.say(f"out of memory: going on in blocks of {store.block_size} images")
        if device.type == "cuda":
            torch.cuda.empty_cache()


def _run_unit(
    unit: Unit,
    mine: Sequence[Block],
    dataset: Dataset,
    store: Store,
    device: torch.device,
    progress: Progress,
    work: WorkLeft,
) -> bool:
    """Compute this process's unfinished blocks of a unit and save each; return whether they fitted into memory."""
    left = [block for block in mine if not store.holds(unit.name, block)]
    sizes = {block.number: _attacked(unit, block, store) for block in mine}
    total, to_do = sum(sizes.values()), sum(sizes[block.number] for block in left)
    if not left:
        work.end(unit.name, [store.load(unit.name, block) for block in mine])
        return True
    if total == 0:
        progress.say(f"{unit.name}: no sample left")
    bar = progress.start(unit.name, total, total - to_do) if total else None
    done = total - to_do
    progress.whole(work.share(unit.name, done), anew=done > 0)
    for block, pixels in zip(left, dataset.stream([block.positions for block in left]), strict=True):
        y, index = (torch.from_numpy(values).to(device) for values in (block.y, block.index))
        before = store.load(unit.before, block) if unit.before is not None else None
        memory = store.memory(unit.name, block)
        if bar is not None:
            memory = Watched(memory, _Glance(progress, bar, unit.name, work, done, sizes[block.number]))
        try:
            x = to_unit(pixels, device)
            check_pixels(x, dataset.name)
            rows = unit.compute(Work(x, y, index, before, memory))
        except (RuntimeError, MemoryError) as error:
            if not _is_out_of_memory(error):
                raise
            if bar is not None:
                progress.finish(bar)
            return False
        store.save(unit.name, block, rows)
        done += sizes[block.number]
        progress.whole(work.share(unit.name, done))
        if bar is not None:
            progress.advance(bar, sizes[block.number])
    work.end(unit.name, [store.load(unit.name, block) for block in mine])
    if bar is not None:
        progress.finish(bar)
    return True


@dataclass(frozen=True)
class _Glance:
    """Shows how far an attack is within a block of `size` samples, after `done` samples of other blocks."""

    progress: Progress
    bar: int
    unit: str
    work: WorkLeft
    done: int
    size: int

    def __call__(self, share: float, recalled: bool) -> None:
        self.progress.whole(self.work.share(self.unit, self.done + share * self.size), anew=recalled)
        self.progress.glance(self.bar, share * self.size)


def _attacked(unit: Unit, block: Block, store: Store) -> int:
    """Return how many samples of a block the unit works on: of a cascade's part, those that survived the one before."""
    if unit.before is None:
        return len(block.index)
    frame = store.load(unit.before, block).frame
    return int((frame["prediction"] == frame["label"]).sum())


def _gather(unit: str, mine: Sequence[Block], store: Store) -> Outcomes:
    rows = [store.load(unit, block) for block in mine]
    everyone = distributed.gather_objects(rows)
    return Outcomes.concat([part for parts in everyone for part in parts])


def check_pixels(x: Tensor, name: str) -> None:
    """Prove that pixels lie in [0, 1].

    Raises:
        Refused: "pixel-range".
    """
    low, high = x.min().item(), x.max().item()
    if not (low >= 0 and high <= 1):
        raise Refused(
            "pixel-range",
            f"images of {name} must hold pixels in [0, 1], but range from {low:.6g} to {high:.6g}; "
            "divide by 255, and leave normalisation to the model (--normalize).",
            overridable=False,
        )
