"""The network as methods call it: the only home of autocast, compilation, memory layout and counting.

Shape key: B batch, K classes.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn


class Forward(nn.Module):
    """A network run in the recipe's precision; logits come back in the type of x.

    Attributes:
        network: the network itself, whose state is saved.
        forwards: samples run through the network since `count_from`.
        backwards: samples whose gradient came back through it.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        precision: Literal["float32", "bf16"] = "float32",
        compiled: bool = False,
        channels_last: bool = False,
    ) -> None:
        super().__init__()
        self.network = network.to(memory_format=torch.channels_last) if channels_last else network
        # In a list, so that the compiled wrapper, which shares the parameters, is not registered as a second module.
        self._call = [torch.compile(network) if compiled else network]
        self._autocast = precision == "bf16"
        self._channels_last = channels_last
        self.forwards = self.backwards = 0

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, K) logits."""
        self.forwards += len(x)
        rows = x.contiguous(memory_format=torch.channels_last) if self._channels_last else x
        with torch.autocast(x.device.type, torch.bfloat16, enabled=self._autocast):
            logits: Tensor = self._call[0](rows)
        logits = logits.to(x.dtype)
        if logits.requires_grad:
            logits.register_hook(self._count_backward)  # type: ignore[no-untyped-call]
        return logits

    def _count_backward(self, gradient: Tensor) -> None:
        self.backwards += len(gradient)

    def count_from(self, forwards: int = 0, backwards: int = 0) -> None:
        """Set the counters, to zero at the start of an epoch."""
        self.forwards, self.backwards = forwards, backwards
