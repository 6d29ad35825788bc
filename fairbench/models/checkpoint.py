"""Checkpoints: weights only, and beside them `<name>.json`, the sidecar that says what they are.

Sidecar keys: schema, fairbench (version), architecture, num_classes, shape [C, H, W], normalize ("none", a name or
MEAN/STD), dataset, eps_text, norm, method, hyper, recipe, seed, class_names, selection {rule, epoch, metrics}, log,
teachers {role: sha256}, sha256 (of the weights file). All but schema and sha256 may be absent.

A weights file and its sidecar are two files, and a kill may fall between the two renames. So the new sidecar is written
first, under a name of its own (`.<name>.json.next`), then the weights, and only then does it take its place: at every
moment either the old pair or the new pair is complete, and `read_sidecar` takes the one that matches the weights.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fairbench.errors import BadInput, WriteFailed
from fairbench.models.normalize import bare
from fairbench.provenance import fairbench_version, sha256_file
from fairbench.runs import read_json, to_json
from fairbench.whole_file import write_whole

SCHEMA_VERSION = 1
SUFFIXES = (".pt", ".pth", ".safetensors")

_KINDS: dict[str, tuple[type, ...]] = {
    "fairbench": (str,),
    "architecture": (str,),
    "num_classes": (int,),
    "shape": (list,),
    "normalize": (str,),
    "dataset": (str,),
    "eps_text": (str,),
    "norm": (str,),
    "method": (str,),
    "hyper": (dict,),
    "recipe": (dict,),
    "seed": (int,),
    "class_names": (list,),
    "selection": (dict,),
    "log": (str,),
    "teachers": (dict,),
    "control_of": (list,),
}


def sidecar_path(path: Path) -> Path:
    """Return where the sidecar of a checkpoint lies: model.pt -> model.json."""
    return Path(path).with_suffix(".json")


def _next_path(path: Path) -> Path:
    return Path(path).with_name(f".{sidecar_path(path).name}.next")


def save_checkpoint(path: Path | str, model: nn.Module, sidecar: Mapping[str, Any]) -> Path:
    """Write the bare network's weights (.pt, .pth or .safetensors) and the sidecar, as one step; return `path`.

    schema, fairbench and sha256 are filled in. Weights are stored on the CPU; a normalisation in front of the network
    is not stored with them: it is the sidecar's `normalize`.

    Raises:
        BadInput: another suffix, or a sidecar value of the wrong kind.
        WriteFailed: the disk is full; the checkpoint that was there before still is.
    """
    path = Path(path)
    if path.suffix not in SUFFIXES:
        raise BadInput(f"a checkpoint's name must end in {', '.join(SUFFIXES)}, but is {path.name!r}.")
    weights = {name: value.detach().cpu().contiguous().clone() for name, value in bare(model).state_dict().items()}
    content = _serialise(weights, path.suffix)
    record = {"schema": SCHEMA_VERSION, "fairbench": fairbench_version(), **sidecar}
    record |= {"schema": SCHEMA_VERSION, "sha256": hashlib.sha256(content).hexdigest()}
    _check(record, sidecar_path(path))
    waiting = _next_path(path)
    write_whole(waiting, to_json(record))
    write_whole(path, content)
    try:
        waiting.replace(sidecar_path(path))
    except OSError as error:
        raise WriteFailed(f"could not write {sidecar_path(path)}: {error.strerror or error}.") from error
    return path


def _serialise(weights: dict[str, Tensor], suffix: str) -> bytes:
    if suffix == ".safetensors":
        from safetensors.torch import save

        return bytes(save(weights))
    sink = io.BytesIO()
    torch.save(weights, sink)
    return sink.getvalue()


def read_sidecar(path: Path | str) -> dict[str, Any] | None:
    """Return the sidecar of the checkpoint at `path`, or None where it has none.

    Raises:
        BadInput: it is not a JSON object with usable values, or a newer fairbench wrote it.
    """
    return _matching(Path(path), None)


def verified_sidecar(path: Path | str) -> tuple[dict[str, Any] | None, str]:
    """Return the sidecar, or None, and the SHA-256 of the weights file, before anything in that file is parsed.

    Raises:
        BadInput: as `read_sidecar`, or the weights are not those that the sidecar was written for.
    """
    path = Path(path)
    digest = sha256_file(path)
    sidecar = _matching(path, digest)
    if sidecar is not None and sidecar["sha256"] != digest:
        raise BadInput(
            f"{path.name} does not match its sidecar {sidecar_path(path).name}: its sha256 is {digest[:12]}..., the "
            f"sidecar says {sidecar['sha256'][:12]}...; restore the file, or remove the sidecar and name --model and "
            "--dataset yourself."
        )
    return sidecar, digest


def _matching(path: Path, digest: str | None) -> dict[str, Any] | None:
    waiting = _next_path(path)
    if waiting.is_file():
        pending = _read(waiting)
        if pending["sha256"] == (digest or sha256_file(path)):
            return pending  # a kill fell between the weights and the sidecar's rename
    place = sidecar_path(path)
    return _read(place) if place.exists() else None


def _read(place: Path) -> dict[str, Any]:
    record = read_json(place, what="the sidecar")
    _check(record, place)
    return record


def _check(record: Mapping[str, Any], place: Path) -> None:
    schema = record.get("schema")
    if type(schema) is int and schema > SCHEMA_VERSION:
        raise BadInput(
            f"the sidecar {place.name} has schema {schema}, but this fairbench reads up to {SCHEMA_VERSION}; "
            "update fairbench."
        )
    if type(schema) is not int or schema < 1:
        raise _unusable(place, "schema", schema, f"{SCHEMA_VERSION}")
    digest = record.get("sha256")
    if not isinstance(digest, str) or len(digest) != 64 or set(digest) - set("0123456789abcdef"):
        raise _unusable(place, "sha256", digest, "64 hexadecimal digits")
    for key, kinds in _KINDS.items():
        value = record.get(key)
        if value is not None and (not isinstance(value, kinds) or isinstance(value, bool)):
            raise _unusable(place, key, value, f"a JSON {_JSON_NAMES[kinds[0]]}")
    if record.get("num_classes") is not None and record["num_classes"] < 1:
        raise _unusable(place, "num_classes", record["num_classes"], "at least 1")
    shape = record.get("shape")
    if shape is not None and (len(shape) != 3 or any(type(side) is not int or side < 1 for side in shape)):
        raise _unusable(place, "shape", shape, "three positive integers, [C, H, W]")
    names = record.get("class_names")
    if names is not None and not all(isinstance(name, str) for name in names):
        raise _unusable(place, "class_names", names, "a list of texts")


_JSON_NAMES = {str: "text", int: "integer", list: "list", dict: "object"}


def _unusable(place: Path, key: str, value: object, right: str) -> BadInput:
    return BadInput(
        f"the sidecar {place.name} is not usable: {key!r} is {str(value)[:60]!r}, but must be {right}; "
        "correct it, or remove the file and name --model and --dataset yourself."
    )
