"""The default block size: fixed for a model, a data set and a kind of device.

Blocks are what is saved, so a kill loses at most the block in progress. The longest piece of work on a block is Square:
5,000 forwards of the samples that are left. The default keeps it near a minute on a CPU of 100 GFLOP/s, except on
networks so large that 4 images take longer; on a GPU blocks are larger, since small ones leave it idle. Free memory,
processes and earlier runs play no part.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from fairbench.evaluation.own_gradients import asks_for_gradients

_FORWARDS = 5000
_SECONDS = 60
_CPU_FLOPS = 1e11
_CPU_RANGE = (4, 256)
_GPU_FLOPS = 5e13
_GPU_RANGE = (64, 1024)


def default_block_size(model: nn.Module, x: Tensor) -> int:
    """Return a power of two from the cost of one forward on `x`, (b, C, H, W), on x's device.

    The cost of a frozen model that computes gradients itself cannot be counted: the least is returned.
    """
    if asks_for_gradients(model, x) is not None:
        return (_GPU_RANGE if x.is_cuda else _CPU_RANGE)[0]
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(x)
    per_image = max(counter.get_total_flops() / len(x), 1)
    flops, (low, high) = (_GPU_FLOPS, _GPU_RANGE) if x.is_cuda else (_CPU_FLOPS, _CPU_RANGE)
    fits = int(flops * _SECONDS / (_FORWARDS * per_image))
    return max(low, min(high, 1 << max(fits.bit_length() - 1, 0)))
