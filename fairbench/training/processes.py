"""Join the processes that torchrun started, and leave them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from fairbench import distributed
from fairbench.evaluation.networks import device_of


@contextmanager
def joined(device: str) -> Iterator[str]:
    """Join the other processes, if there are any, and yield this one's device: "cuda" is one device per process.

    Raises:
        BadInput: no such device on this machine.
    """
    target = device_of(device)
    if distributed.start(target) and target.type == "cuda" and target.index is None:
        target = device_of(f"cuda:{distributed.local_rank()}")
    if target.type == "cuda":
        torch.cuda.set_device(target)
    try:
        yield str(target)
    finally:
        distributed.stop()
