"""The adversarial examples of a run on disk, in the blocks of the evaluation, hashed.

    examples/<unit>-<digest>/<block size>-<block>.safetensors     index (n,) int64, x_adv (n, C, H, W) float32
    examples.json     {"schema", "units": in the order of work, "files": {path: sha256}}; run.json holds its sha256

A unit is an attack, or a part of a cascade. Its file holds exactly the pixels that were judged, for the samples whose
pixels the attack changed: where there is no row, the judged image was the natural one. A part of a cascade judges only
the survivors of the parts before, and a sample that every part failed on may have a row in each.

Shape key: n samples of a block, C H W image.
"""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from fairbench.errors import BadInput
from fairbench.evaluation.blocks import Block
from fairbench.provenance import sha256_file
from fairbench.runs import read_json, write_json
from fairbench.whole_file import write_whole

SCHEMA_VERSION = 1
FOLDER = "examples"
LEDGER = "examples.json"

#: Takes a unit's name and the index (b,), examples and images (b, C, H, W) of the samples that it judged.
Keep = Callable[[str, Tensor, Tensor, Tensor], None]


def unit_folder(unit: str) -> str:
    """Return a name for the files of a unit: readable, and different for different units."""
    slug = re.sub(r"[^\w.-]+", "_", unit)[:40]
    return f"{slug}-{hashlib.sha256(unit.encode()).hexdigest()[:8]}"


def example_path(unit: str, block_size: int, number: int) -> str:
    """Return where the examples of one block lie within the run folder."""
    return f"{FOLDER}/{unit_folder(unit)}/{block_size}-{number:06d}.safetensors"


class ExampleWriter:
    """Keeps what was judged of the block in progress and writes it, before the block counts as finished."""

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)
        self._judged: dict[str, dict[str, Tensor]] = {}

    def keep(self, unit: str, index: Tensor, x_adv: Tensor, x: Tensor) -> None:
        """Remember the examples that a unit's block was judged on; see `Keep`."""
        changed = (x_adv != x).flatten(1).any(1)
        self._judged[unit] = {"index": index[changed].cpu(), "x_adv": x_adv[changed].detach().cpu().contiguous()}

    def forget(self) -> None:
        """Forget what was kept of blocks that did not fit into memory."""
        self._judged.clear()

    def holds(self, unit: str, block: Block, block_size: int) -> bool:
        """Return whether a block's examples are on disk."""
        return (self.folder / example_path(unit, block_size, block.number)).exists()

    def write(self, unit: str, block: Block, block_size: int) -> None:
        """Write the examples that were kept last, whole or not at all; an empty file where nothing was judged.

        Raises:
            WriteFailed: the disk is full.
        """
        tensors = self._judged.pop(unit, {})
        assert not tensors or np.isin(tensors["index"].numpy(), block.index).all()
        write_whole(self.folder / example_path(unit, block_size, block.number), save(tensors))

    def finish(self, units: Sequence[str], blocks: int, block_size: int) -> dict[str, Any]:
        """Write examples.json, delete files that a larger block size or a kill left, and return run.json's entry.

        Returns:
            {"files", "bytes", "sha256" of examples.json}: the same for any number of processes and interruptions.
        """
        paths = [example_path(unit, block_size, number) for unit in units for number in range(blocks)]
        wanted = {self.folder / path for path in paths}
        for path in sorted((self.folder / FOLDER).rglob("*")):
            if path.is_file() and path not in wanted:
                path.unlink()
        for place in (self.folder / FOLDER).iterdir():
            if not any(place.iterdir()):
                shutil.rmtree(place)
        files = {path: sha256_file(self.folder / path) for path in paths}
        write_json(self.folder / LEDGER, {"schema": SCHEMA_VERSION, "units": list(units), "files": files})
        size = sum((self.folder / path).stat().st_size for path in paths)
        return {"files": len(paths), "bytes": size, "sha256": sha256_file(self.folder / LEDGER)}


def kept_examples(folder: Path, record: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what run.json says of the run's examples.

    Raises:
        BadInput: the run kept none.
    """
    entry = record.get("examples")
    if not isinstance(entry, Mapping):
        raise BadInput(
            f"the run {str(folder)[:150]!r} kept no adversarial examples; evaluate again with "
            "'fairbench eval --save-adversarial'."
        )
    return entry


class ExampleReader:
    """The examples of a finished run; every file is hashed before it is read.

    Attributes:
        units: the attacks and parts in the order of work.

    Raises:
        BadInput: the run kept no examples, or examples.json is not the one that run.json names.
    """

    def __init__(self, folder: Path, record: Mapping[str, Any], *, blocks: int, block_size: int) -> None:
        self.folder = Path(folder)
        self._block_size = block_size
        entry = kept_examples(folder, record)
        self._refuse_other(LEDGER, entry.get("sha256"), of="run.json")
        ledger = read_json(self.folder / LEDGER, what="the list of examples")
        if ledger.get("schema") != SCHEMA_VERSION:
            raise BadInput(
                f"{self.folder / LEDGER} has schema {ledger.get('schema')!r}, but this fairbench reads "
                f"{SCHEMA_VERSION}: update it."
            )
        units, files = ledger.get("units"), ledger.get("files")
        if not isinstance(units, list) or not isinstance(files, dict):
            raise BadInput(f"{self.folder / LEDGER} must list units and files; restore it, or evaluate again.")
        self.units: tuple[str, ...] = tuple(str(unit) for unit in units)
        self._files: dict[str, object] = files
        paths = {example_path(unit, block_size, number) for unit in self.units for number in range(blocks)}
        if paths != set(files):
            raise BadInput(
                f"{self.folder / LEDGER} lists {len(files)} files, but {len(self.units)} attacks and parts in {blocks} "
                f"blocks of {block_size} need {len(paths)}; restore it, or evaluate again."
            )

    def read(self, unit: str, block: Block, shape: tuple[int, int, int]) -> tuple[npt.NDArray[np.int64], Tensor]:
        """Return the index (n,) and x_adv (n, C, H, W) of a block's changed samples; `shape` is (C, H, W).

        Raises:
            BadInput: the file is missing, is not the one that was written, or does not hold this block's examples.
        """
        path = example_path(unit, self._block_size, block.number)
        content = self._refuse_other(path, self._files[path], of=LEDGER)
        try:
            tensors = load(content)
        except SafetensorError as error:
            raise BadInput(f"{self.folder / path} is no safetensors file ({str(error)[:100]}).") from error
        if not tensors:
            return np.empty(0, dtype=np.int64), torch.empty(0, *shape)
        missing = torch.empty(0)
        index, x_adv = tensors.get("index", missing).numpy(), tensors.get("x_adv", missing)
        fits = index.dtype == np.int64 and x_adv.dtype == torch.float32 and x_adv.shape == (len(index), *shape)
        if not fits or not np.isin(index, block.index).all() or len(np.unique(index)) != len(index):
            raise BadInput(
                f"{self.folder / path} does not hold float32 examples of {shape} for samples of its block; "
                "it belongs to another run."
            )
        return index, x_adv

    def _refuse_other(self, path: str, sha256: object, *, of: str) -> bytes:
        """Return a file's content after comparing its hash with the one recorded in `of`."""
        place = self.folder / path
        try:
            content = place.read_bytes()
        except OSError as error:
            raise BadInput(
                f"{place} cannot be read ({error.strerror}), but {of} names it; restore it, or evaluate again."
            ) from error
        found = hashlib.sha256(content).hexdigest()
        if found != sha256:
            raise BadInput(
                f"{place} was changed: its sha256 is {found[:12]}..., but {of} says {str(sha256)[:12]}...; restore it, "
                "or evaluate again."
            )
        return content
