"""The tensors in a checkpoint file, whoever wrote it, without running anything that is in it.

What a file is shows in its first bytes and, for an archive, in the listing of its members; nothing is unpickled to find
out. Weights are read with `weights_only=True`, always.
"""

from __future__ import annotations

import argparse
import re
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from fairbench.errors import BadInput

Kind = Literal["weights", "safetensors", "torchscript", "export"]

#: Where training scripts put the state dict among other things, in order of preference.
WRAPPERS = (
    "state_dict", "model_state_dict", "model_state", "state", "model", "net", "network", "student", "weights", "params",
)  # fmt: skip
_MAX_DEPTH = 4
#: Counters of weight averaging, which are no part of the network.
_IGNORED = ("n_averaged",)


def check_file(path: Path) -> bytes:
    """Return the first bytes of the file at `path`.

    Raises:
        BadInput: it is missing, a folder, unreadable or empty.
    """
    shown = str(path)[:200]
    if path.is_dir():
        raise BadInput(f"the checkpoint {shown} is a folder; give the file with the weights inside it.")
    try:
        with path.open("rb") as file:
            start = file.read(9)
    except FileNotFoundError:
        raise BadInput(f"the checkpoint {shown} does not exist; give a .pt, .pth or .safetensors file.") from None
    except OSError as error:
        raise BadInput(f"the checkpoint {shown} cannot be read ({error.strerror}).") from error
    if not start:
        raise BadInput(f"the checkpoint {shown} is empty; its writing was probably interrupted: get it again.")
    return start


def file_kind(path: Path) -> Kind:
    """Say what the file at `path` is, from its first bytes and its listing alone.

    Raises:
        BadInput: as `check_file`, or it is truncated, or no checkpoint at all.
    """
    start, shown = check_file(path), str(path)[:200]
    if start[:4] == b"PK\x03\x04":
        return _archive_kind(path, shown)
    if len(start) == 9 and start[8:] == b"{" and int.from_bytes(start[:8], "little") < path.stat().st_size:
        return "safetensors"
    if start[:1] == b"\x80":
        return "weights"  # torch's format before 1.6
    raise BadInput(
        f"{shown} is not a checkpoint: it begins with {start[:8]!r}; "
        "give a file that torch.save(model.state_dict(), ...) or safetensors wrote."
    )


def _archive_kind(path: Path, shown: str) -> Kind:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise BadInput(f"the checkpoint {shown} is truncated or damaged ({error}); get it again.") from error
    inner = [name.split("/", 1)[-1] for name in names]
    if any(name == "constants.pkl" or name.startswith("code/") for name in inner):
        return "torchscript"
    if any(name in ("archive_format", "serialized_exported_program.json") for name in [*inner, *names]) or any(
        name.startswith("models/") and name.endswith(".json") for name in inner
    ):
        return "export"
    if "data.pkl" not in inner:
        raise BadInput(
            f"{shown} is a zip archive without weights (it holds {', '.join(names)[:80] or 'nothing'}); "
            "give a file that torch.save(model.state_dict(), ...) wrote."
        )
    return "weights"


def read_weights(path: Path) -> dict[str, Tensor]:
    """Return the state dict in a weights file: found among a training script's things, prefixes of wrappers removed.

    Raises:
        BadInput: damaged files, pickled objects (they are not run), no state dict inside, NaN or infinite weights.
    """
    kind = file_kind(path)
    assert kind in ("weights", "safetensors")
    content = _read_safetensors(path) if kind == "safetensors" else _read_pickle(path)
    found = _state_dict(content)
    if found is None:
        inside = (
            ", ".join(str(key) for key in content)[:100] if isinstance(content, Mapping) else type(content).__name__
        )
        raise BadInput(
            f"{str(path)[:200]} holds no state dict, neither directly nor under {', '.join(WRAPPERS[:4])}, ...; "
            f"it holds: {inside or 'nothing'}."
        )
    state = unprefixed(found)
    for name, value in state.items():
        if value.layout != torch.strided or value.is_quantized:
            raise BadInput(
                f"{str(path)[:200]} holds {name[:60]!r} as a sparse or quantized tensor; save dense weights."
            )
        if not bool(torch.isfinite(value.float() if value.element_size() == 1 else value).all()):
            raise BadInput(
                f"{str(path)[:200]} holds NaN or infinite weights, first in {name[:60]!r}; "
                "the training has diverged: take an earlier checkpoint."
            )
    return state


def _read_safetensors(path: Path) -> Any:
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except Exception as error:  # SafetensorError, or what a damaged header raises
        raise _damaged(path, error) from error


#: Harmless things that training scripts save beside the weights: NumPy numbers and parsed arguments.
_HARMLESS: list[Any] = [
    argparse.Namespace,
    np.dtype,
    np.ndarray,
    *(type(np.dtype(kind)) for kind in ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "?")),
]


def _read_pickle(path: Path) -> Any:
    scalar, reconstruct = np.float64(0).__reduce__()[0], np.empty(0).__reduce__()[0]
    numpy_functions: list[Any] = [
        (function, f"numpy.{core}.multiarray.{name}")
        for core in ("core", "_core")
        for function, name in ((scalar, "scalar"), (reconstruct, "_reconstruct"))
    ]
    try:
        # A file, not its name: torch.load takes a name that ends in .safetensors for that format.
        with (
            path.open("rb") as file,
            torch.serialization.safe_globals([*_HARMLESS, *numpy_functions]),
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("ignore")  # of formats that are refused below
            return torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # pickle, zip and torch each have errors of their own
        # A builtin such as getattr or eval is named without its module.
        named = re.search(r"(?:GLOBAL|global|class)[: ]+([A-Za-z_]\w*(?:\.\w+)+)|GLOBAL (\w+) was not", str(error))
        if named is not None:
            raise BadInput(
                f"{str(path)[:200]} holds Python objects ({(named[1] or named[2])[:80]}), which can run code when "
                "unpickled, so it was not loaded; save the weights alone with torch.save(model.state_dict(), ...)."
            ) from error
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> BadInput:
    reason = " ".join(str(error).rpartition("WeightsUnpickler error:")[2].split())[:120] or type(error).__name__
    return BadInput(f"the checkpoint {str(path)[:200]} is truncated or damaged ({reason}); get it again.")


def _state_dict(content: Any, depth: int = 0) -> dict[str, Tensor] | None:
    """Return the first state dict in `content`, looking under the usual names."""
    if not isinstance(content, Mapping) or depth > _MAX_DEPTH:
        return None
    for wrapper in WRAPPERS:
        if isinstance(content.get(wrapper), Mapping):
            found = _state_dict(content[wrapper], depth + 1)
            if found is not None:
                return found
    tensors = {str(key): value for key, value in content.items() if isinstance(value, Tensor)}
    return tensors if tensors and len(tensors) == len(content) else None


def unprefixed(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the state dict without what DataParallel ("module."), torch.compile ("_orig_mod.") and averaging add."""
    kept = {key: value for key, value in state.items() if key not in _IGNORED}
    while kept:
        shorter = {key.replace("_orig_mod.", ""): value for key, value in kept.items()}
        if all(key.startswith("module.") for key in shorter):
            shorter = {key.removeprefix("module."): value for key, value in shorter.items()}
        if len(shorter) != len(kept) or list(shorter) == list(kept):
            break
        kept = shorter
    return kept
