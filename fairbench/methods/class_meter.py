"""Per-class means over an epoch, over all processes.

Shape key: B batch, K classes.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fairbench import distributed


class ClassMeter(nn.Module):
    """Per-class sums and counts in float64 buffers; `width` is the shape of one sample's value, () for a number."""

    total: Tensor
    count: Tensor

    def __init__(self, num_classes: int, *width: int) -> None:
        super().__init__()
        self.register_buffer("total", torch.zeros(num_classes, *width, dtype=torch.float64))
        self.register_buffer("count", torch.zeros(num_classes, dtype=torch.float64))

    def add(self, y: Tensor, value: Tensor) -> None:
        """Add each sample's `value`, (B, *width), to the sum of its class `y`, (B,)."""
        # A matrix product, because index_add_ is not deterministic on CUDA.
        one_hot = torch.nn.functional.one_hot(y, len(self.count)).to(torch.float64)
        self.total += (one_hot.T @ value.detach().reshape(len(y), -1).to(torch.float64)).view_as(self.total)
        self.count += one_hot.sum(0)

    def pop_mean(self) -> Tensor:
        """Return (K, *width) means over all processes and reset; NaN where a class was absent."""
        total, count = distributed.sum_(self.total), distributed.sum_(self.count)
        mean = total / count.view(-1, *[1] * (total.ndim - 1))
        self.reset()
        return mean

    def reset(self) -> None:
        """Forget everything."""
        self.total = torch.zeros_like(self.total)
        self.count = torch.zeros_like(self.count)

    def collect(self) -> None:
        """Move all processes' sums to process 0, so that one saved state holds them; `pop_mean` is not changed."""
        self.total, self.count = distributed.sum_(self.total), distributed.sum_(self.count)
        self.keep_on_main()

    def keep_on_main(self) -> None:
        """Forget everything on all processes but the first, which has loaded the sums of all."""
        if not distributed.is_main():
            self.reset()
