"""Where jobs run: one process per device, or several on the CPU."""

from __future__ import annotations

import os

import torch

from fairbench.errors import BadInput
from fairbench.evaluation.networks import device_of


def devices_of(device: str, jobs: int | None) -> list[str]:
    """Return one device for each process that may run at a time.

    "cuda" is every device of this machine, each for one process; a CPU takes `jobs` processes, one per core by default.

    Raises:
        BadInput: no such device, or more jobs than devices.
    """
    place = device_of(device)
    if place.type == "cpu":
        return ["cpu"] * (jobs or len(os.sched_getaffinity(0)))
    found = [f"cuda:{n}" for n in range(torch.cuda.device_count())] if place.index is None else [str(place)]
    if jobs is not None and jobs > len(found):
        raise BadInput(f"--jobs must be at most the number of devices, {len(found)}, but is {jobs}; leave it out.")
    return found[:jobs]
