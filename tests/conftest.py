"""One thread per test process: more threads than cores make small networks slower, and floats round differently."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# On a machine that is busy an example may take seconds, which says nothing about the code.
settings.register_profile("fairbench", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("fairbench")
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "Agg")


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)


@pytest.fixture(autouse=True, scope="session")
def _ctrl_c_works() -> None:
    """A shell lets what it starts in the background ignore Ctrl-C, and so would every process that a test starts."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def real_data() -> Path:
    """The folder of real images and checkpoints that FAIRBENCH_DATA names."""
    folder = Path(os.environ.get("FAIRBENCH_DATA", "does-not-exist"))
    if not (folder / "models").is_dir():
        pytest.skip("FAIRBENCH_DATA does not name a folder with real images and checkpoints")
    return folder
