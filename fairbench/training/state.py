"""The saved state of a training: one file, written whole, that holds everything the tensors depend on.

The random numbers of the attacks, the order and the augmentation need no state: they are functions of (seed, sample,
epoch). torch's own generator is kept for networks that draw from it (dropout).
"""

from __future__ import annotations

import io
import pickle
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from fairbench.errors import BadInput
from fairbench.whole_file import write_whole

SCHEMA_VERSION = 1


def write_state(path: Path, state: Mapping[str, Any]) -> None:
    """Write a state, whole or not at all.

    Raises:
        WriteFailed: the disk is full; the state that was there before still is.
    """
    sink = io.BytesIO()
    torch.save({"schema": SCHEMA_VERSION, **state}, sink)
    write_whole(path, sink.getvalue())


def read_state(path: Path) -> dict[str, Any] | None:
    """Read a state onto the CPU, or return None where there is no file; loads tensors and plain values only.

    Raises:
        BadInput: the file is damaged, is something else, or was written by a newer fairbench.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about foreign files, which are refused below in our own words
            state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        return None
    except (OSError, RuntimeError, EOFError, ValueError, KeyError, pickle.UnpicklingError) as error:
        raise BadInput(
            f"{path} is not a readable training state ({type(error).__name__}); remove it to train from the beginning, "
            "or give another --out."
        ) from error
    if not isinstance(state, dict) or not isinstance(state.get("schema"), int) or "settings" not in state:
        raise BadInput(f"{path} is not a training state; remove it, or give another --out.")
    if state["schema"] > SCHEMA_VERSION:
        raise BadInput(
            f"{path} has schema {state['schema']}, but this fairbench reads up to {SCHEMA_VERSION}; update fairbench."
        )
    return state


def check_settings(path: Path, found: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    """Check that a folder's training is the one asked for.

    Raises:
        BadInput: another setting's training; the first difference is named.
    """
    for key in [*wanted, *found]:
        there, here = found.get(key), wanted.get(key)
        if there == here:
            continue
        if isinstance(there, dict) and isinstance(here, dict):
            key, there, here = next(
                (f"{key} {k}", there.get(k), here.get(k)) for k in [*here, *there] if there.get(k) != here.get(k)
            )
        raise BadInput(
            f"{path} belongs to a training with other settings: {key} = {_shown(there)} there, but {_shown(here)} "
            "here; give another --out, or repeat that command."
        )


def _shown(value: object) -> str:
    text = "nothing" if value is None else str(value)
    return text if len(text) <= 40 else text[:37] + "..."
