"""kill -9 in the middle of a training: the same command continues to the same tensors."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time

import pytest
import torch

from fairbench.cli import run
from fairbench.training.request import Request
from fairbench.training.train import train

EPOCHS = 60
OPTIONS = ["--dataset", "digits", "--method", "sat", "--samples-per-class", "4", "--epochs", str(EPOCHS)]


@pytest.fixture(scope="module")
def processes():
    """A server that has imported torch once and forks: each kill costs no start of torch."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["fairbench.training.train", "fairbench.cli.train", "torch._dynamo"])
    return context


def killed_after_writes(processes, folder, writes: int) -> int:
    """Start the command, kill it once the state was written so often, and return the epoch that is on disk."""
    state = folder / "digits-sat.state"
    process = processes.Process(target=run, args=(["train", *OPTIONS, "-p", "steps=2", "--out", str(folder)],))
    process.start()
    seen = state.stat().st_mtime_ns if state.exists() else 0
    deadline = time.monotonic() + 120
    while writes and process.is_alive() and time.monotonic() < deadline:
        now = state.stat().st_mtime_ns if state.exists() else 0
        if now != seen:
            seen, writes = now, writes - 1
        time.sleep(0.001)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert process.exitcode == -signal.SIGKILL, "it ended before it was killed"
    return int(torch.load(state, weights_only=True)["epoch"])


def kills(processes, folder, whole_folder, count, writes):
    epochs = [killed_after_writes(processes, folder, writes) for number in range(count)]
    assert epochs == sorted(epochs)
    assert 0 < epochs[0] < epochs[-1] < EPOCHS
    request = Request("digits", "sat", samples_per_class=4, hyper={"steps": "2"}, changes={"epochs": EPOCHS})
    resumed, whole = (torch.load(train(request, out=out), weights_only=True) for out in (folder, whole_folder))
    assert all(torch.equal(resumed[name], whole[name]) for name in whole)
    logs = [(out / "digits-sat.log.jsonl").read_text().splitlines() for out in (folder, whole_folder)]
    assert len(logs[0]) == len(logs[1]) == EPOCHS
    left = {path.name for path in folder.iterdir() if path.suffix != ".tmp"}
    assert left == {f"digits-sat{ending}" for ending in (".pt", ".json", ".log.jsonl", ".settings.json", ".state")}


def test_three_kills(tmp_path, processes):
    kills(processes, tmp_path / "killed", tmp_path / "whole", 3, writes=2)


@pytest.mark.slow
def test_thirty_kills(tmp_path, processes):
    kills(processes, tmp_path / "killed", tmp_path / "whole", 30, writes=1)
