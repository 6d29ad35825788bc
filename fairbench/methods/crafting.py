"""The state a network is in while it is attacked."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch
from torch import nn


@contextmanager
def crafting(model: nn.Module, mode: Literal["eval", "train"] = "eval") -> Iterator[None]:
    """Set the mode, freeze the parameters and switch gradients off; restore every module and parameter afterwards.

    Attacks switch gradients on where they need them, towards the input only: no weight gradients are computed and
    fewer activations are stored.
    """
    modes = [(module, module.training) for module in model.modules()]
    trainable = [p for p in model.parameters() if p.requires_grad]
    try:
        model.train(mode == "train")
        for p in trainable:
            p.requires_grad_(False)
        with torch.no_grad():
            yield
    finally:
        for module, training in modes:
            module.training = training
        for p in trainable:
            p.requires_grad_(True)
