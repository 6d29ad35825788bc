"""An average of the weights over epochs or steps."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from fairbench.methods.batch import epoch_at
from fairbench.training.recipe import Average, average_start


class WeightAverage:
    """Averages everything in the state dict, buffers included; whole numbers (batch norm's counter) are copied.

    The first weights that enter are copied; those after them move the average by 1 - decay, or by 1 / n of n entered
    where the decay is "uniform". Batch norm's statistics are averaged like weights, and not estimated anew.
    """

    def __init__(self, rule: Average) -> None:
        self.unit, self.decay = rule[:2]
        self.start = average_start(rule)
        self.entered = 0
        self.weights: dict[str, Tensor] = {}

    def begun(self, epoch: int, epochs: int) -> bool:
        """Return whether, after `epoch` of `epochs` epochs, weights enter from now on."""
        return epoch >= epoch_at(self.start, epochs)

    @torch.no_grad()
    def add(self, network: nn.Module) -> None:
        """Let the network's weights now enter."""
        self.entered += 1
        now = network.state_dict()
        if self.entered == 1:
            self.weights = {name: value.clone() for name, value in now.items()}
            return
        share = 1 / self.entered if self.decay == "uniform" else 1 - float(self.decay)
        for name, value in now.items():
            if value.is_floating_point():
                self.weights[name].lerp_(value, share)
            else:
                self.weights[name].copy_(value)

    @contextmanager
    def applied(self, network: nn.Module) -> Iterator[None]:
        """Give the network the average, and its own weights back afterwards, bit for bit."""
        live = {name: value.clone() for name, value in network.state_dict().items()}
        network.load_state_dict(self.weights)
        try:
            yield
        finally:
            network.load_state_dict(live)

    def state_dict(self) -> dict[str, Any]:
        """Return what `load_state_dict` takes."""
        return {"entered": self.entered, "weights": self.weights}

    def load_state_dict(self, state: dict[str, Any], device: torch.device) -> None:
        """Continue from a saved state."""
        self.entered = state["entered"]
        self.weights = {name: value.to(device) for name, value in state["weights"].items()}
