"""The architectures that fairbench knows by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from fairbench.errors import BadInput, unknown
from fairbench.models.mobilenet_v2 import MobileNetV2
from fairbench.models.normalize import normalized
from fairbench.models.preact_resnet import PreActResNet18
from fairbench.models.resnet import ResNet18
from fairbench.models.small_cnn import SmallCNN
from fairbench.models.torchvision_models import PREFIX, build_torchvision, torchvision_names
from fairbench.models.wide_resnet import WideResNet

Shape = tuple[int, int, int]


@dataclass(frozen=True)
class ModelSpec:
    """An architecture.

    Attributes:
        description: one line for `fairbench list models`.
        build: makes it for (num_classes, shape).
        smallest_side: the smallest height and width it takes, in pixels.
        sized: whether its weights depend on the size of images; those of the others on the channels alone.
    """

    description: str
    build: Callable[[int, Shape], nn.Module]
    smallest_side: int = 8
    sized: bool = False


MODELS: dict[str, ModelSpec] = {
    "small-cnn": ModelSpec(
        "two convolutions (16, 32), two linear layers; digits, MNIST, images up to 64x64", SmallCNN, 4, sized=True
    ),
    "wide-cnn": ModelSpec(
        "small-cnn twice as wide (32, 64): its teacher", lambda k, shape: SmallCNN(k, shape, width=32), 4, sized=True
    ),
    "resnet18": ModelSpec("ResNet-18 with CIFAR's stride, 11 million parameters", ResNet18),
    "preactresnet18": ModelSpec("PreActResNet-18 with CIFAR's stride and the final batch norm", PreActResNet18),
    "preactresnet18-plain": ModelSpec(
        "PreActResNet-18 without the final batch norm, as in many checkpoints",
        lambda k, shape: PreActResNet18(k, shape, final_norm=False),
    ),
    "mobilenetv2": ModelSpec("MobileNetV2 with CIFAR's stride, 2.3 million parameters", MobileNetV2),
    "wrn-28-10": ModelSpec(
        "WideResNet-28-10, 36 million parameters", lambda k, shape: WideResNet(k, shape, depth=28, width=10)
    ),
    "wrn-34-10": ModelSpec(
        "WideResNet-34-10, 46 million parameters", lambda k, shape: WideResNet(k, shape, depth=34, width=10)
    ),
}


def build_model(name: str, *, num_classes: int, shape: Shape, normalize: str = "none") -> nn.Module:
    """Build a freshly initialised network: (B, C, H, W) pixels in [0, 1] in, (B, K) logits out.

    Args:
        name: a name in `MODELS`, "torchvision:NAME", or a torchvision name that is not in `MODELS`.
        num_classes: K.
        shape: (C, H, W) of the images.
        normalize: "none", a known name or MEAN/STD (see `fairbench.models.normalize`).

    Raises:
        BadInput: an unknown name or normalisation, or images that the architecture cannot take.
    """
    return normalized(build_network(name, num_classes, shape), normalize, shape[0])


def build_network(name: str, num_classes: int, shape: Shape) -> nn.Module:
    """Build the bare network; arguments and errors as `build_model`."""
    if num_classes < 1:
        raise BadInput(f"a model needs at least 1 class, but is asked for {num_classes}.")
    if name in MODELS:
        if min(shape[1:]) < MODELS[name].smallest_side:
            raise BadInput(
                f"{name} needs images of at least {MODELS[name].smallest_side} pixels a side, "
                f"but these are {shape[1]}x{shape[2]}."
            )
        return MODELS[name].build(num_classes, shape)
    if not is_model_name(name):
        raise unknown("model", name, [*MODELS, "torchvision:NAME", "FILE.py:factory", "module:factory"])
    return build_torchvision(name.removeprefix(PREFIX), num_classes, shape)


def is_model_name(name: str) -> bool:
    """Say whether `name` is an architecture's name, and not a factory or a mistake."""
    return name in MODELS or name.startswith(PREFIX) or (":" not in name and name in torchvision_names())
