"""Whether weights fit an architecture, and what to say where they do not.

Shape key: C, H, W image.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor, nn

from fairbench.errors import BadInput
from fairbench.models.registry import MODELS, Shape, build_network

#: Image sizes to try where nothing says it.
USUAL_SHAPES: tuple[Shape, ...] = (
    (3, 32, 32), (1, 28, 28), (1, 8, 8), (3, 64, 64), (3, 96, 96), (3, 224, 224), (3, 8, 8), (1, 32, 32),
)  # fmt: skip
#: torchvision's classifiers that a checkpoint of the wild is likely to be.
_LIKELY = tuple(
    f"torchvision:{name}"
    for name in (
        "resnet18",
        "resnet34",
        "resnet50",
        "resnet101",
        "wide_resnet50_2",
        "mobilenet_v2",
        "vgg16",
        "vgg16_bn",
    )
)
#: Parameters that released code creates and never uses: a second first stage in many a WideResNet.
_UNUSED = ("sub_block1.",)
_MEANS, _STDS = ("mean", "mu"), ("std", "sigma")


def adapted(
    state: Mapping[str, Tensor], network: nn.Module, *, channels: int | None = None
) -> tuple[dict[str, Tensor], str | None] | None:
    """Return the part of `state` that fits `network` exactly, and the normalisation that the file holds; or None.

    Names may have one more level in front ("model.", "net.", "1."), as in nn.Sequential(normalise, network), and where
    `channels` is given the rest may be one mean and one standard deviation per channel: returned as "MEAN/STD".
    """
    expected = {name: value.shape for name, value in network.state_dict().items()}
    for prefix in ("", *sorted({name.split(".")[0] + "." for name in state if "." in name})):
        inner = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
        rest = [name for name in state if not name.startswith(prefix)]
        used = {name: value for name, value in inner.items() if name in expected}
        rest += [prefix + name for name in inner if name not in expected and not name.startswith(_UNUSED)]
        missing = [name for name in expected if name not in used and not name.endswith("num_batches_tracked")]
        if missing or any(value.shape != expected[name] for name, value in used.items()):
            continue
        if not rest:
            return used, None
        constants = _normalisation(state, rest, channels)
        if constants is not None:
            return used, constants
    return None


def _normalisation(state: Mapping[str, Tensor], rest: Sequence[str], channels: int | None) -> str | None:
    """Return "MEAN/STD" where the remaining tensors are just that, with `channels` numbers each."""
    means = [name for name in rest if name.split(".")[-1] in _MEANS and state[name].numel() == channels]
    stds = [name for name in rest if name.split(".")[-1] in _STDS and state[name].numel() == channels]
    if len(rest) != 2 or len(means) != 1 or len(stds) != 1:
        return None
    halves = (
        ",".join(np.format_float_positional(np.float32(value)) for value in state[name].flatten().tolist())
        for name in (means[0], stds[0])
    )
    return "/".join(halves)


def head_name(network: nn.Module) -> str:
    """Return the name of the weight whose rows are the classes: that of the last linear or convolutional layer."""
    layers = [name for name, layer in network.named_modules() if isinstance(layer, nn.Linear | nn.Conv2d)]
    return f"{layers[-1]}.weight" if layers else ""


def class_count(state: Mapping[str, Tensor], network: nn.Module) -> int | None:
    """Return how many classes the weights have, were they `network`'s; None where its last layer is not among them."""
    head = head_name(network)
    for name in (head, *(name for name in state if head and name.endswith("." + head))):
        if name in state and state[name].ndim in (2, 4):
            return int(state[name].shape[0])
    return None


@lru_cache(maxsize=128)
def meta_network(name: str, num_classes: int, shape: Shape) -> nn.Module:
    """Build an architecture without memory for its weights, where it can be; kept, for its names and shapes only."""
    try:
        with torch.device("meta"):
            return build_network(name, num_classes, shape)
    except NotImplementedError:  # torchvision's regnets compute with their weights
        return build_network(name, num_classes, shape)


def fitting_classes(name: str, state: Mapping[str, Tensor], shape: Shape) -> int | None:
    """Return K where the weights are those of the architecture `name` with K classes; None where they are not."""
    try:
        count = class_count(state, meta_network(name, 1, shape))
        if count is None or adapted(state, meta_network(name, count, shape), channels=shape[0]) is None:
            return None
    except BadInput:  # an image that the architecture cannot take
        return None
    return count


def fitting_shape(name: str, state: Mapping[str, Tensor], first: Shape | None = None) -> Shape | None:
    """Return the first image size, `first` before the usual ones, for which the weights are the architecture's."""
    channels = next((int(value.shape[1]) for value in state.values() if value.ndim == 4), None)
    shapes = [shape for shape in (*((first,) if first is not None else ()), *USUAL_SHAPES) if shape[0] == channels]
    if name not in MODELS or not MODELS[name].sized:
        shapes = shapes[:1]
    return next((shape for shape in shapes if fitting_classes(name, state, shape) is not None), None)


def suggestion(state: Mapping[str, Tensor], shape: Shape | None) -> str:
    """Return which architecture the weights fit, as the end of a sentence."""
    for name in (*MODELS, *_LIKELY):
        image = fitting_shape(name, state, shape)
        if image is not None:
            size = "" if image == shape else f", for {image[0]}x{image[1]}x{image[2]} images"
            return f"it fits --model {name}{size}"
    return "no architecture of 'fairbench list models' fits; give your own with --model FILE.py:factory"


def mismatch(state: Mapping[str, Tensor], network: nn.Module) -> str:
    """Return the first parameters that keep the weights from fitting, in words."""
    expected = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    lacks = [name for name in expected if name not in state and not name.endswith("num_batches_tracked")]
    extra = [name for name in state if name not in expected]
    differ = [name for name in expected if name in state and tuple(state[name].shape) != expected[name]]
    parts = []
    if lacks:
        parts.append(f"it lacks {_first(lacks)}")
    if extra:
        parts.append(f"has unknown {_first(extra)}")
    if differ:
        name = differ[0]
        more = f" ({len(differ) - 1} more differ)" if len(differ) > 1 else ""
        parts.append(f"has {name[:60]} of shape {tuple(state[name].shape)} instead of {expected[name]}{more}")
    return ", ".join(parts)


def _first(names: Sequence[str]) -> str:
    more = f" and {len(names) - 2} more" if len(names) > 2 else ""
    return ", ".join(name[:60] for name in names[:2]) + more
