"""The processes of a command that torchrun may have started several times."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


@contextmanager
def joined(device: str) -> Iterator[torch.device]:
    """Join the other processes, if there are any, and yield the device of this one.

    Raises:
        BadInput: no such device on this machine.
    """
    from fairbench import distributed
    from fairbench.evaluation.networks import device_of

    place = device_of(device)
    if place.type == "cuda" and place.index is None:
        place = device_of(f"cuda:{distributed.local_rank()}")
    distributed.start(place)
    try:
        yield place
    finally:
        distributed.stop()
