"""AWP: adversarial weight perturbation (Wu, Xia & Wang, NeurIPS 2020).

Paper      Adversarial weight perturbation helps robust generalization, https://arxiv.org/abs/2004.05884, eq. 8-9
Official   https://github.com/csdongxian/AWP @ a7acf5d842
Published  CIFAR-10, WRN-34-10, AutoAttack, as the official README says (the paper's tables could not be read): with
           TRADES 56.17, MART 54.23, SAT 53.97.
Measured   Against both released forms (TRADES-AWP, AT-AWP) on random inputs with the same examples, with and without
           batch norm, five steps without weight decay: the same tensors moved, delta to 2e-15, loss, gradient and
           weights to 9e-16; in float32, first step: 5e-7. With a decay of 5e-4, weights after a step differ by what
           is said below, at most 3e-7, and by nothing else.
Differs    The official code takes one SGD step of a proxy network; its learning rate cancels in the norm, so no
           proxy is kept here: delta = gamma * |w| * g / |g| for each weight tensor of two or more dimensions. As there,
           batch norm's statistics are not moved by the extra call. There the optimiser steps from the moved weights and
           delta is subtracted afterwards, so that weight decay acts on w + delta; here it acts on w: after a step
           the weights differ by lr * decay * delta.
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
