"""A small training on real digits that takes a fraction of a second."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from fairbench.data import load_dataset
from fairbench.methods import METHODS
from fairbench.progress import Silent
from fairbench.runs import to_json
from fairbench.threat import Threat
from fairbench.training.loop import Job, Training
from fairbench.training.recipe import Recipe


def network(seed: int = 0, *, dropout: bool = False) -> nn.Module:
    """A network with what a training must restore: batch norm's statistics and, if asked, dropout's draws."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        extra = [nn.Dropout(0.2)] if dropout else []
        return nn.Sequential(
            nn.Conv2d(1, 6, 3, stride=2), nn.BatchNorm2d(6), nn.ReLU(), nn.Flatten(), *extra, nn.Linear(54, 10)
        )


def job(method="sat", *, dropout=False, hyper=None, slots=None, method_class=None, samples=4, seed=0, **recipe) -> Job:
    cls = method_class or METHODS[method]
    values = {"epochs": 3, "batch_size": 16, "lr": 0.1, "validation_attack": "pgd2", **recipe}
    train = load_dataset("digits", "train").first_per_class(samples)
    validation = load_dataset("digits", "validation").first_per_class(2)
    teachers = {role: network(7) for role in cls.roles}
    for teacher in teachers.values():
        teacher[-1].weight.data *= 10  # labels that say something
    made = cls(10, eps=0.1, teachers=teachers, slots=slots, **{"steps": 2, **(hyper or {})})
    settings = json.loads(to_json({"method": method, "recipe": values, "seed": seed}))
    return Job(
        network(seed, dropout=dropout), made, Recipe("test", **values), train, validation,
        Threat.parse("Linf", "0.1"), seed, torch.device("cpu"), settings,
    )  # fmt: skip


class StopAfter(Silent):
    """Progress that stops the training after so many steps, as a kill would: what is on disk is all that is left."""

    def __init__(self, steps: int) -> None:
        self.left = steps

    def advance(self, bar: int, amount: float = 1) -> None:
        self.left -= 1
        if self.left == 0:
            raise KilledError


class KilledError(Exception):
    pass


@pytest.fixture
def tiny(tmp_path) -> SimpleNamespace:
    def training(of: Job, *, folder=tmp_path, progress=None, save_every=300.0) -> Training:
        return Training(
            of, state_path=folder / "t.state", log_path=folder / "t.log.jsonl", progress=progress or Silent(),
            name="t", save_every=save_every,
        )  # fmt: skip

    def result(of: Training) -> dict:
        """Everything that must be equal, bit for bit."""
        lines = [{k: v for k, v in line.items() if k != "seconds"} for line in of.log]
        state = {
            "network": dict(of.network.state_dict()),
            "method": dict(of.method.state_dict()),
            "optimiser": {f"{k}": v["momentum_buffer"] for k, v in of.optimiser.state_dict()["state"].items()},
            "selected": of.selection.weights,
            "average": of.average.weights if of.average else {},
        }
        return {"lines": lines, "selection": of.selection.record(), "tensors": state}

    return SimpleNamespace(
        network=network, job=job, training=training, result=result, StopAfter=StopAfter, KilledError=KilledError
    )


@pytest.fixture
def assert_same():
    def check(one: dict, other: dict) -> None:
        assert one["lines"] == other["lines"]
        assert one["selection"] == other["selection"]
        for part, tensors in one["tensors"].items():
            assert tensors.keys() == other["tensors"][part].keys()
            for name, value in tensors.items():
                assert torch.equal(value, other["tensors"][part][name]), f"{part} {name}"

    return check


def _free_port() -> str:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return str(listener.getsockname()[1])


@pytest.fixture
def two_processes():
    """Return a function that runs a script as two processes which find each other, and waits for both."""

    def run(script: Path, arguments: list[str], timeout: float = 3600) -> None:
        shared = {**os.environ, "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": _free_port()}
        workers = []
        try:
            for rank in ("0", "1"):
                environment = {**shared, "RANK": rank, "LOCAL_RANK": rank, "OMP_NUM_THREADS": "1"}
                command = [sys.executable, "-X", "faulthandler", str(script), *arguments]
                workers.append(subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True))
            for one in workers:
                _, errors = one.communicate(timeout=timeout)
                assert one.returncode == 0, errors[-2000:]
        finally:
            for one in workers:
                one.kill()  # the other one may wait for what a failed one never sends
                one.wait()

    return run
