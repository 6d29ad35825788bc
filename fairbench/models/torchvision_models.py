"""Any classifier of torchvision, by its name there, with its own parameter names and strides."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from fairbench.errors import BadInput, unknown

PREFIX = "torchvision:"
#: Families that are built for one image size.
_SIZED: dict[str, Callable[[int], dict[str, Any]]] = {
    "vit_": lambda side: {"image_size": side},
    "maxvit_": lambda side: {"input_size": (side, side)},
}


def torchvision_names() -> list[str]:
    """Return the names of torchvision's image classifiers."""
    from torchvision import models

    return list(models.list_models(module=models))


def build_torchvision(name: str, num_classes: int, shape: tuple[int, int, int]) -> nn.Module:
    """Build torchvision's classifier `name` ("resnet50") without its weights.

    Raises:
        BadInput: an unknown name, or images that the network cannot take.
    """
    from torchvision import models

    if name not in torchvision_names():
        raise unknown("torchvision model", name, torchvision_names())
    keywords: dict[str, Any] = {"weights": None, "num_classes": num_classes}
    for family, sized in _SIZED.items():
        if name.startswith(family):
            keywords |= sized(shape[1])
    if name in ("googlenet", "inception_v3"):
        keywords["init_weights"] = True  # the default warns that it will change
    try:
        # Shapes only, so this costs no arithmetic.
        with torch.device("meta"):
            models.get_model(name, **keywords).eval()(torch.empty(1, *shape))
    except NotImplementedError:
        pass  # the regnets compute with weights while they are built, and take any size
    except (RuntimeError, ValueError, AssertionError, ZeroDivisionError) as error:
        reason = " ".join(str(error).split())[:160]
        raise BadInput(
            f"torchvision's {name} cannot take {shape[0]}x{shape[1]}x{shape[2]} images ({reason}); "
            "choose another model, or images of another size."
        ) from error
    network = models.get_model(name, **keywords)
    assert isinstance(network, nn.Module)
    return network
