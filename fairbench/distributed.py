"""The only module that knows of other processes (torchrun); with one process everything here is the identity."""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from fairbench.errors import OtherProcessEnded
from fairbench.own_processes import RENDEZVOUS

T = TypeVar("T")


def start(device: torch.device) -> bool:
    """Join the processes that torchrun started (NCCL on CUDA, gloo on the CPU); False where there is only this one."""
    if int(os.environ.get("WORLD_SIZE", "1")) <= 1 or dist.is_initialized():
        return dist.is_initialized()
    if device.type == "cuda":
        torch.cuda.set_device(device)  # NCCL gathers objects through the current device
    # An optimiser imports it anyway. Imported later, it holds the group for good, so that `stop` ends none of gloo's
    # threads, and one that frees a tensor while Python ends aborts the process (exit code -6 after finished work).
    importlib.import_module("torch._dynamo")
    # Evaluation blocks may take long on one process while the others wait for it.
    dist.init_process_group(
        "nccl" if device.type == "cuda" else "gloo", init_method=os.environ.get(RENDEZVOUS, "env://"),
        timeout=timedelta(hours=12), rank=int(os.environ["RANK"]), world_size=int(os.environ["WORLD_SIZE"]),
    )  # fmt: skip
    return True


def stop() -> None:
    """Leave the processes, if any were joined."""
    if dist.is_initialized():
        dist.destroy_process_group()


def rank() -> int:
    """This process's number, 0 where it is alone."""
    return dist.get_rank() if dist.is_initialized() else int(os.environ.get("RANK", "0"))


def local_rank() -> int:
    """This process's number on its machine: the CUDA device it uses."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def world_size() -> int:
    """How many processes work together."""
    return dist.get_world_size() if dist.is_initialized() else 1


def is_main() -> bool:
    """Whether this process prints and writes."""
    return rank() == 0


@contextmanager
def _together() -> Iterator[None]:
    """Say in a sentence that another process is gone, instead of what the backend says then."""
    try:
        yield
    except RuntimeError as error:
        raise OtherProcessEnded from error


def sum_(value: Tensor) -> Tensor:
    """Sum `value` over the processes; no gradient flows through it."""
    if world_size() == 1:
        return value
    total = value.detach().clone()
    with _together():
        dist.all_reduce(total)
    return total


def mean_(value: Tensor, rows: int | None = None) -> Tensor:
    """Return the mean over all processes' rows of (b, ...) `value`: the whole batch's mean, detached.

    `rows` is the number of rows this process contributes, where `value` is a sum and not a batch.
    """
    count = value.shape[0] if rows is None else rows
    total = value.detach().sum(0) if rows is None else value.detach()
    return sum_(total) / sum_(torch.tensor(float(count), device=value.device, dtype=total.dtype))


def sum_gradients(parameters: Iterable[torch.nn.Parameter]) -> None:
    """Add the processes' gradients up in place, once per step; a missing gradient counts as zero."""
    if world_size() == 1:
        return
    parameters = [p for p in parameters if p.requires_grad]
    for p in parameters:
        if p.grad is None:
            p.grad = torch.zeros_like(p)
    flat = torch.cat([p.grad.reshape(-1) for p in parameters if p.grad is not None])
    with _together():
        dist.all_reduce(flat)
    offset = 0
    for p in parameters:
        assert p.grad is not None
        p.grad.copy_(flat[offset : offset + p.numel()].view_as(p))
        offset += p.numel()


def broadcast_(tensors: Iterable[Tensor]) -> None:
    """Overwrite every process's tensors with those of process 0."""
    if world_size() > 1:
        with _together():
            for tensor in tensors:
                dist.broadcast(tensor.data, 0)


def gather_objects(value: T) -> list[T]:
    """Return every process's `value` in order of rank, on every process."""
    if world_size() == 1:
        return [value]
    gathered: list[T | None] = [None] * world_size()
    with _together():
        dist.all_gather_object(gathered, value)
    return [item for item in gathered if item is not None]


def barrier() -> None:
    """Wait until every process is here."""
    if world_size() > 1:
        with _together():
            dist.barrier()
