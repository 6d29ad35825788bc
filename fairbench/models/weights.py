"""The tensors in a checkpoint file, whoever wrote it, without running anything that is in it.

Weights are read with `weights_only=True`, always; `file_kind` says before what a file is.
"""

from __future__ import annotations

import argparse
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fairbench.errors import BadInput
from fairbench.models.file_kind import file_kind

#: Where training scripts put the state dict among other things, in order of preference.
WRAPPERS = (
    "state_dict", "model_state_dict", "model_state", "state", "model", "net", "network", "student", "weights", "params",
)  # fmt: skip
_MAX_DEPTH = 4
#: Counters of weight averaging, which are no part of the network.
_IGNORED = ("n_averaged",)


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


def read_content(path: Path) -> Any:
    """Return whatever a weights file holds, for a loader that knows where in it the weights are; nothing is run.

    Raises:
        BadInput: damaged files, programs, or pickled objects.
    """
    kind = file_kind(path)
    if kind not in ("weights", "safetensors"):
        raise BadInput(f"{str(path)[:200]} is a program ({kind}), not weights; give a file of torch.save(state_dict).")
    return _read_safetensors(path) if kind == "safetensors" else _read_pickle(path)


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
