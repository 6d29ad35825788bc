"""Normalisation inside the network: pixels in [0, 1] go in, whatever the checkpoint was trained on.

Shape key: B batch, C channels, H height, W width, K classes.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fairbench.data.registry import DATASETS, Normalization
from fairbench.errors import BadInput, unknown
from fairbench.threat import parse_number

#: Every normalisation that a data set names, by name.
NORMALIZATIONS: dict[str, Normalization] = {
    name: constants for spec in DATASETS.values() for name, constants in spec.normalizations.items()
}
#: What is tried for a person's own images, by their channels.
_USUAL = {1: ("mnist", "mnist-half"), 3: ("cifar10", "imagenet", "half")}


def candidates(dataset: str, channels: int) -> dict[str, Normalization]:
    """Return the normalisations that are tried for a data set, by name: its own, or for other images the usual ones."""
    if dataset in DATASETS:
        return dict(DATASETS[dataset].normalizations)
    return {name: NORMALIZATIONS[name] for name in _USUAL.get(channels, ())}


class Normalized(nn.Module):
    """A network behind (x - mean) / std; the constants are no part of the state dict.

    `network` is the bare network, whose state dict a checkpoint holds; `name` is how the normalisation was asked for.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module, constants: Normalization, name: str) -> None:
        super().__init__()
        self.network, self.name = network, name
        self.register_buffer("mean", torch.tensor(constants[0]).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(constants[1]).view(1, -1, 1, 1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, K) logits of (B, C, H, W) pixels in [0, 1]."""
        logits: Tensor = self.network((x - self.mean) / self.std)
        return logits


def parse_normalize(text: str, channels: int) -> Normalization | None:
    """Read "none", a known name ("cifar10"), or "MEAN/STD" with one number per channel ("0.5,0.5,0.5/0.25,0.25,0.25").

    Raises:
        BadInput: an unknown name, another number of channels, a mean outside [0, 1], or a std outside (0, 10].
    """
    text = text.strip()
    if text == "none":
        return None
    if text in NORMALIZATIONS:
        constants = NORMALIZATIONS[text]
    elif "/" in text:
        halves = text.split("/")
        if len(halves) != 2:
            raise BadInput(
                f"--normalize MEAN/STD must hold one '/' between decimals, such as 0.5,0.5,0.5/0.25,0.25,0.25, "
                f"but is {text[:80]!r}."
            )
        mean, std = (
            tuple(parse_number(number, what=f"a {what} of --normalize", example="0.5") for number in half.split(","))
            for half, what in zip(halves, ("mean", "std"), strict=True)
        )
        if any(value > 1 for value in mean) or any(not 0 < value <= 10 for value in std):
            raise BadInput(
                f"--normalize takes constants for pixels in [0, 1]: means up to 1 and stds above 0, but is "
                f"{text[:80]!r}; divide constants for 0..255 by 255."
            )
        constants = (mean, std)
    else:
        raise unknown("normalisation", text, ["none", *NORMALIZATIONS, "MEAN/STD"])
    if {len(constants[0]), len(constants[1])} != {channels}:
        raise BadInput(
            f"--normalize {text[:80]} has {len(constants[0])} means and {len(constants[1])} stds, "
            f"but the images have {channels} channel(s); give one of each per channel."
        )
    return constants


def normalized(network: nn.Module, text: str, channels: int) -> nn.Module:
    """Return `network` behind the normalisation that `text` names; `network` itself for "none"."""
    constants = parse_normalize(text, channels)
    return network if constants is None else Normalized(network, constants, text.strip())


def bare(model: nn.Module) -> nn.Module:
    """Return the network without its normalisation: what a checkpoint holds."""
    return model.network if isinstance(model, Normalized) else model
