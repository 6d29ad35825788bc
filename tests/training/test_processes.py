"""Two gloo processes with an uneven last batch against one on the whole batch, in float64, without batch norm."""

from __future__ import annotations

import importlib.util
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from fairbench.methods import METHODS

WORKER = Path(__file__).with_name("two_process_worker.py")


def free_port() -> str:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return str(listener.getsockname()[1])


def two_processes(methods, folder: Path) -> dict:
    port, workers = free_port(), []
    for rank in range(2):
        environment = {
            **os.environ, "RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_RANK": str(rank), "OMP_NUM_THREADS": "1",
            "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port,
        }  # fmt: skip
        command = [sys.executable, str(WORKER), str(folder / f"{rank}.json"), *methods]
        workers.append(subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True))
    for worker in workers:
        _, errors = worker.communicate(timeout=300)
        assert worker.returncode == 0, errors[-2000:]
    results = [json.loads((folder / f"{rank}.json").read_text()) for rank in range(2)]
    assert results[0] == results[1], "the processes ended with different tensors"
    return results[0]


def one_process(methods) -> dict:
    spec = importlib.util.spec_from_file_location("two_process_worker", WORKER)
    worker = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(worker)
    return worker.train_all(methods)


def check(methods, folder):
    one, two = one_process(methods), two_processes(methods, folder)
    for name in methods:
        assert two[name]["taken"] == one[name]["taken"]
        assert two[name]["three"] is False
        for part in ("weights", "class_state", "loss"):
            assert two[name][part] == pytest.approx(one[name][part], rel=0, abs=1e-9), f"{name} {part}"


def test_two_methods(tmp_path):
    check(("trades", "absld"), tmp_path)
    moved = [abs(value - 1) for value in one_process(["absld"])["absld"]["class_state"]]
    assert max(moved) > 0.1, "a class state that never moved proves nothing"


@pytest.mark.slow
def test_every_method(tmp_path):
    check(tuple(METHODS), tmp_path)
