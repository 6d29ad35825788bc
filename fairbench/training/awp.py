"""AWP: adversarial weight perturbation (Wu, Xia & Wang, NeurIPS 2020).

Paper      Adversarial weight perturbation helps robust generalization, https://arxiv.org/abs/2004.05884, eq. 8-9
Official   https://github.com/csdongxian/AWP @ a7acf5d842
Differs    The official code takes one SGD step of a proxy network; its learning rate cancels in the norm, so no
           proxy is kept here: delta = gamma * |w| * g / |g| for each weight tensor of two or more dimensions. As there,
           batch norm's statistics are not moved by the extra call.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from fairbench import distributed

_TINY = 1e-20


@contextmanager
def perturbed(network: nn.Module, loss: Callable[[], Tensor], gamma: float) -> Iterator[None]:
    """Move the weights where `loss` grows, within the block; restore them afterwards, bit for bit.

    `loss` returns this process's share of the total; gradients are summed over the processes.
    """
    buffers = {name: value.clone() for name, value in network.named_buffers()}
    network.zero_grad(set_to_none=True)
    loss().backward()  # type: ignore[no-untyped-call]
    distributed.sum_gradients(network.parameters())
    moved = []
    with torch.no_grad():
        for name, value in network.named_buffers():
            value.copy_(buffers[name])
        for name, p in network.named_parameters():
            if p.ndim > 1 and "weight" in name and p.grad is not None:
                moved.append((p, p.detach().clone()))
                p.add_(p.grad * (gamma * p.norm() / (p.grad.norm() + _TINY)))
    network.zero_grad(set_to_none=True)
    try:
        yield
    finally:
        with torch.no_grad():
            for p, value in moved:
                p.copy_(value)
