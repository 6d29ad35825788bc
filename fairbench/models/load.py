"""From a checkpoint file to a network that is ready to be evaluated."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from fairbench.data.dataset import Dataset
from fairbench.data.registry import DATASETS
from fairbench.errors import BadInput, unknown
from fairbench.models.checkpoint import verified_sidecar
from fairbench.models.factory import build_from_factory, is_factory
from fairbench.models.file_kind import check_file, usable_kind
from fairbench.models.fit import (
    USUAL_SHAPES,
    adapted,
    class_count,
    fitting_classes,
    fitting_shape,
    meta_network,
    mismatch,
    suggestion,
)
from fairbench.models.normalize import normalized
from fairbench.models.other_task import refuse_other_task
from fairbench.models.program import load_program
from fairbench.models.registry import Shape, build_network, is_model_name
from fairbench.models.weights import read_weights


@dataclass(frozen=True)
class LoadedModel:
    """A network in eval mode, and what is known of it.

    Attributes:
        model: (B, C, H, W) pixels in [0, 1] in, (B, K) logits out; normalisation inside.
        name: the file's name without its ending.
        sha256: of the whole file.
        normalize: "none", a name, or MEAN/STD.
        architecture: the architecture's name, FILE.py:factory without the folder, "torchscript" or "torch.export".
        num_classes: K as the last layer says; None where only a forward pass can tell.
        sidecar: what the sidecar says, None where there is none.
        source_sha256: of the person's own code behind the network, None where there is none.
    """

    model: nn.Module
    name: str
    sha256: str
    normalize: str
    architecture: str
    num_classes: int | None
    sidecar: dict[str, Any] | None
    source_sha256: str | None = None


def load_checkpoint(
    path: Path | str,
    *,
    model: str | None = None,
    dataset: str | Dataset | None = None,
    normalize: str | None = None,
    num_classes: int | None = None,
    shape: Shape | None = None,
    trust_program: bool = False,
    device: torch.device | str = "cpu",
) -> LoadedModel:
    """Load a checkpoint strictly; nothing in the file is run.

    Args:
        path: a weights file of torch or safetensors.
        model: an architecture's name, FILE.py:factory or module:factory; None: what the sidecar says.
        dataset: a name of the registry or a data set, for the number of classes and the shape of images.
        normalize: "none", a known name or MEAN/STD; None: what the sidecar says, else what the file itself holds
            beside the network, else none.
        num_classes: K, before what `dataset` says.
        shape: (C, H, W), before what `dataset` says.
        trust_program: load TorchScript and torch.export files, too, which can run code.
        device: where the network is.

    Raises:
        BadInput: a file that is no checkpoint, does not match its sidecar, holds objects, NaN or infinite weights, or
            does not fit the architecture or the number of classes.
    """
    path = Path(path)
    if not path.name:
        raise BadInput("the checkpoint must be a file, but is an empty text; give a .pt, .pth or .safetensors file.")
    for option, text in (("--model", model), ("--normalize", normalize)):
        if text is not None and not text.strip():
            raise BadInput(f"{option} must not be an empty text; leave it out, or name one.")
    check_file(path)
    sidecar, sha256 = verified_sidecar(path)
    kind = usable_kind(path, trust_program=trust_program)
    known = sidecar or {}
    num_classes, shape = _task(dataset, num_classes, shape)
    if dataset is not None:
        name = dataset if isinstance(dataset, str) else dataset.name
        refuse_other_task(path.name, sidecar, name, num_classes, shape)
    if shape is None and known.get("shape"):
        shape = (known["shape"][0], known["shape"][1], known["shape"][2])
    if kind == "torchscript" or kind == "export":
        network = load_program(path, kind, torch.device(device))
        loaded = _Filled(network, "torchscript" if kind == "torchscript" else "torch.export", None, None)
    else:
        state = read_weights(path)
        wanted = _architecture(path, model, known.get("architecture"), state, shape)
        expected = num_classes if num_classes is not None else known.get("num_classes")
        build = _from_factory if is_factory(wanted) else _from_name
        loaded = build(wanted, state, path, expected, shape)
    text = (normalize or known.get("normalize") or loaded.inside or "none").strip()
    channels = shape[0] if shape is not None else loaded.channels
    ready = normalized(loaded.network, text, channels).to(device).eval()
    return LoadedModel(
        ready, path.stem, sha256, text, loaded.architecture, loaded.num_classes, sidecar, loaded.source_sha256
    )


def load_model(path: Path | str, **options: Any) -> nn.Module:
    """Return the network of `load_checkpoint`, which takes the same arguments: pixels in [0, 1] in, logits out.

    Raises:
        BadInput: as `load_checkpoint`.
    """
    return load_checkpoint(path, **options).model


def _task(
    dataset: str | Dataset | None, num_classes: int | None, shape: Shape | None
) -> tuple[int | None, Shape | None]:
    """Return the number of classes and the shape of images, as far as arguments and the data set say them."""
    known = DATASETS.get(dataset) if isinstance(dataset, str) else dataset
    if isinstance(dataset, str) and known is None and not dataset.startswith(("npz:", "folder:")):
        raise unknown("data set", dataset, DATASETS)
    if known is None:
        return num_classes, shape
    return num_classes or known.num_classes, shape or known.shape


def _architecture(
    path: Path, asked: str | None, recorded: str | None, state: Mapping[str, Tensor], shape: Shape | None
) -> str:
    """Return the architecture that was asked for, else the one that the sidecar names."""
    if asked is not None:
        return asked
    if recorded is None:
        raise BadInput(
            f"{str(path)[:200]} has no sidecar that names its architecture; say it with --model: "
            f"{suggestion(state, shape)}."
        )
    if not is_model_name(recorded):
        # A file must not choose which code is run.
        raise BadInput(
            f"the sidecar of {path.name[:100]} names the architecture {recorded[:60]!r}, which fairbench does not "
            "have; say it yourself with --model FILE.py:factory."
        )
    return recorded


class _Filled(NamedTuple):
    """A network with its weights; `inside` is the normalisation that the file holds beside them."""

    network: nn.Module
    architecture: str
    num_classes: int | None
    inside: str | None
    channels: int = 3
    source_sha256: str | None = None


def _from_name(
    name: str, state: Mapping[str, Tensor], path: Path, num_classes: int | None, shape: Shape | None
) -> _Filled:
    image = shape or fitting_shape(name, state) or USUAL_SHAPES[0]
    count = fitting_classes(name, state, image)
    if count is None:
        raise _unfit(path, name, state, meta_network(name, num_classes or 10, image), shape)
    if num_classes is not None and count != num_classes:
        raise _other_classes(path, count, num_classes)
    network = build_network(name, count, image)
    return _Filled(network, name, count, _fill(network, state, path, name, shape, image[0]), image[0])


def _from_factory(
    name: str, state: Mapping[str, Tensor], path: Path, num_classes: int | None, shape: Shape | None
) -> _Filled:
    network, source = build_from_factory(name)
    _fill(network, state, path, name, shape, None)
    count = class_count(state, network)
    if num_classes is not None and count is not None and count != num_classes:
        raise _other_classes(path, count, num_classes)
    place, _, attribute = name.rpartition(":")
    channels = next((int(value.shape[1]) for value in state.values() if value.ndim == 4), 3)
    return _Filled(network, f"{Path(place).name}:{attribute}", count, None, channels, source)


def _fill(
    network: nn.Module, state: Mapping[str, Tensor], path: Path, name: str, shape: Shape | None, channels: int | None
) -> str | None:
    """Put the weights into the network, and return the normalisation that the file holds."""
    found = adapted(state, network, channels=channels)
    if found is None:
        raise _unfit(path, name, state, network, shape)
    network.load_state_dict(found[0])
    return found[1]


def _unfit(path: Path, name: str, state: Mapping[str, Tensor], network: nn.Module, shape: Shape | None) -> BadInput:
    return BadInput(
        f"{path.name[:80]} does not fit {name[-80:]}: {mismatch(state, network)}; {suggestion(state, shape)}."
    )


def _other_classes(path: Path, count: int, expected: int) -> BadInput:
    return BadInput(
        f"{str(path)[:200]} has {count} classes, but {expected} are expected; "
        "give the data set that it was trained on with --dataset, or another checkpoint."
    )
