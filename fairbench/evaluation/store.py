"""Finished blocks in memory, or as files in the run folder, with the settings that they belong to."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fairbench import distributed
from fairbench.attacks.attack_memory import FileMemory
from fairbench.errors import BadInput
from fairbench.evaluation.blocks import Block
from fairbench.evaluation.examples import ExampleWriter, unit_folder
from fairbench.outcomes import NATURAL, Outcomes
from fairbench.runs import Run, read_json, read_run, write_json


def _count(record: Mapping[str, Any], key: str, place: Path) -> int:
    value = record.get(key)
    if type(value) is not int or value < 1:
        raise BadInput(f"{place} must give {key} as a whole number of at least 1, but gives {str(value)[:40]!r}.")
    return value


class MemoryStore:
    """Blocks in memory: nothing survives the process."""

    def __init__(self, block_size: int) -> None:
        self.block_size = block_size
        self._rows: dict[tuple[str, int], Outcomes] = {}

    def holds(self, unit: str, block: Block) -> bool:
        """Return whether a block is finished."""
        return (unit, block.number) in self._rows

    def load(self, unit: str, block: Block) -> Outcomes:
        """Return a finished block's rows."""
        return self._rows[unit, block.number]

    def save(self, unit: str, block: Block, rows: Outcomes) -> None:
        """Keep a finished block's rows."""
        self._rows[unit, block.number] = rows

    def memory(self, unit: str, block: Block) -> None:
        """Return none: nothing survives the process."""

    def halve(self) -> None:
        """Halve the block size and forget what was computed in the old one."""
        self.block_size = max(1, self.block_size // 2)
        self._rows.clear()


class FolderStore:
    """Blocks as files in `<run folder>/blocks/`, beside `settings.json`, which says what run they belong to.

    `block_size` and `threads` are those that the run was begun with, halved sizes included. With `examples` a block of
    an attack is finished once its examples are on disk, too.

    Raises:
        BadInput: the folder holds blocks of another run.
    """

    def __init__(
        self,
        folder: Path,
        settings: Mapping[str, Any],
        *,
        block_size: int,
        threads: int,
        examples: ExampleWriter | None = None,
    ) -> None:
        self.folder = Path(folder) / "blocks"
        self._settings = dict(settings)
        self._place = self.folder / "settings.json"
        self._clock = time.monotonic()
        self._examples = examples
        self.block_size, self.threads = block_size, threads
        if self._place.exists():
            recorded = read_json(self._place, what="the record of unfinished work")
            refuse_other_settings(recorded.get("settings"), self._settings, folder)
            self.block_size, self.threads = (_count(recorded, key, self._place) for key in ("block_size", "threads"))
        elif distributed.is_main():
            self._write()
        distributed.barrier()

    def _write(self) -> None:
        write_json(self._place, {"settings": self._settings, "block_size": self.block_size, "threads": self.threads})

    def _path(self, unit: str, block: Block) -> Path:
        return self.folder / unit_folder(unit) / f"{self.block_size}-{block.number:06d}.parquet"

    def holds(self, unit: str, block: Block) -> bool:
        """Return whether a block is finished."""
        examples = self._examples if unit != NATURAL else None
        kept = examples is None or examples.holds(unit, block, self.block_size)
        return kept and self._path(unit, block).exists()

    def load(self, unit: str, block: Block) -> Outcomes:
        """Return a finished block's rows."""
        return Outcomes.read(self._path(unit, block))

    def save(self, unit: str, block: Block, rows: Outcomes) -> None:
        """Write a finished block's rows, whole or not at all, and now and then the seconds spent."""
        if self._examples is not None and unit != NATURAL:
            self._examples.write(unit, block, self.block_size)
        rows.write(self._path(unit, block))
        self.memory(unit, block).forget()
        if distributed.is_main() and time.monotonic() - self._clock > 5:
            self.add_seconds()

    def memory(self, unit: str, block: Block) -> FileMemory:
        """Return where an attack on a block keeps its state: a file beside the block's, gone once it is saved."""
        return FileMemory(self._path(unit, block).with_suffix(".state.safetensors"))

    def add_seconds(self) -> float:
        """Add the time since the last call to what earlier calls spent on this run, and return the sum."""
        place = self.folder / "seconds.json"
        before = read_json(place, what="the record of time spent").get("seconds", 0.0) if place.exists() else 0.0
        now = time.monotonic()
        total = float(before) + now - self._clock
        self._clock = now
        write_json(place, {"seconds": total})
        return total

    def halve(self) -> None:
        """Halve the block size for good; blocks of the old size no longer count."""
        self.block_size = max(1, self.block_size // 2)
        if self._examples is not None:
            self._examples.forget()
        if distributed.is_main():
            self._write()
        distributed.barrier()

    def remove(self) -> None:
        """Delete the blocks; the finished run holds their rows."""
        shutil.rmtree(self.folder, ignore_errors=True)


def finished_run(folder: Path, settings: Mapping[str, Any]) -> Run | None:
    """Return the finished run in `folder`, None where there is none; blocks that a kill left beside it are deleted.

    Raises:
        BadInput: it is another setting's run.
    """
    if not (folder / "run.json").exists():
        return None
    run = read_run(folder)
    refuse_other_settings(run.record.get("settings"), settings, folder)
    shutil.rmtree(folder / "blocks", ignore_errors=True)
    return run


def refuse_other_settings(recorded: object, asked: Mapping[str, Any], folder: Path) -> None:
    """Compare what a folder was begun with and what is asked for now.

    Raises:
        BadInput: they differ; the first difference is named.
    """
    if not isinstance(recorded, Mapping):
        raise BadInput(
            f"the folder {str(folder)[:150]!r} holds a run that does not say its settings; choose another --out."
        )
    for key in {**recorded, **asked}:
        if recorded.get(key) != asked.get(key):
            theirs, mine = _difference(recorded.get(key), asked.get(key))
            raise BadInput(
                f"the folder {str(folder)[:150]!r} holds another run: {key} = {theirs} there, but {mine} here; "
                "choose another --out, or repeat the command that began it."
            )


def _told(value: object) -> str:
    return "nothing" if value is None else str(value)


def _difference(theirs: Any, mine: Any) -> tuple[str, str]:
    """Return two values in a few words; of mappings only what differs."""
    if isinstance(theirs, Mapping) and isinstance(mine, Mapping):
        keys = [key for key in {**theirs, **mine} if theirs.get(key) != mine.get(key)]
        if all((key in theirs) != (key in mine) for key in keys):
            theirs, mine = ", ".join(theirs), ", ".join(mine)
        else:
            theirs, mine = ({key: side.get(key) for key in keys} for side in (theirs, mine))
    return tuple(text if len(text) <= 120 else text[:117] + "..." for text in (_told(theirs), _told(mine)))  # type: ignore[return-value]
