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

WORKER = Path(__file__).with_name("two_process_worker.py")


def load_worker():
    spec = importlib.util.spec_from_file_location("two_process_worker", WORKER)
    worker = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(worker)
    return worker


worker = load_worker()


def free_port() -> str:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return str(listener.getsockname()[1])


def two_processes(cases, folder: Path) -> dict:
    port, workers = free_port(), []
    for rank in range(2):
        environment = {
            **os.environ, "RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_RANK": str(rank), "OMP_NUM_THREADS": "1",
            "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port,
        }  # fmt: skip
        command = [sys.executable, str(WORKER), str(folder / f"{rank}.json"), *cases]
        workers.append(subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True))
    for one in workers:
        _, errors = one.communicate(timeout=300)
        assert one.returncode == 0, errors[-2000:]
    results = [json.loads((folder / f"{rank}.json").read_text()) for rank in range(2)]
    assert results[0] == results[1], "the processes ended with different tensors"
    return results[0]


def near(two, one, what: str) -> None:
    assert two == pytest.approx(one, rel=0, abs=1e-9), what


def check(cases, folder) -> None:
    """After every step: loss and gradient; after every step and at every epoch's start: all state of the method."""
    one, two = worker.train_all(cases), two_processes(cases, folder)
    for case in cases:
        assert two[case]["taken"] == one[case]["taken"], case
        assert all(one[case]["taken"]), f"{case}: a step that was skipped proves nothing"
        assert two[case]["three"] is False
        near(two[case]["loss"], one[case]["loss"], f"{case} loss")
        near(two[case]["weights"], one[case]["weights"], f"{case} weights")
        for step, (ours, theirs) in enumerate(zip(two[case]["gradient"], one[case]["gradient"], strict=True)):
            near(ours, theirs, f"{case} gradient of step {step}")
        for place, (ours, theirs) in enumerate(zip(two[case]["state"], one[case]["state"], strict=True)):
            assert ours.keys() == theirs.keys()
            for name in theirs:
                near(ours[name], theirs[name], f"{case} {name} at {place}")
        moved = one[case]["state"][0] != one[case]["state"][-1]
        assert moved or not one[case]["state"][0], f"{case}: a class state that never moved proves nothing"


def test_two_methods(tmp_path):
    check(["trades", "absld"], tmp_path)


@pytest.mark.slow
def test_every_method_and_variant(tmp_path):
    check(list(worker.CASES), tmp_path)


@pytest.mark.slow
def test_the_comparison_sees_a_gradient_that_is_not_shared(tmp_path, monkeypatch):
    """Without its other half the batch's gradient is another: the tolerance is not too wide."""
    whole = worker.train_all(["sat"])["sat"]["gradient"][0]
    monkeypatch.setattr(worker, "BATCHES", (7, 4))
    half = worker.train_all(["sat"])["sat"]["gradient"][0]
    assert max(abs(a - b) for a, b in zip(whole, half, strict=True)) > 1e-3
