"""Trainings by the loop, in float64 and without batch norm, as the test and its second process run them.

As a script, one of two processes: python two_process_training.py FOLDER CASE...
For each case it trains undisturbed, stops trainings for one process to go on with, and goes on with those that one
process stopped.
"""

from __future__ import annotations

import functools
import runpy
import sys
from pathlib import Path

import numpy as np
import torch
from torch import nn

from fairbench import distributed
from fairbench.data import load_dataset
from fairbench.data.dataset import ArrayDataset
from fairbench.methods import CLASS_RULES, METHODS
from fairbench.progress import Silent
from fairbench.threat import Threat
from fairbench.training.loop import Job, Training
from fairbench.training.recipe import Recipe

STEP_WORKER = runpy.run_path(str(Path(__file__).with_name("two_process_worker.py")), run_name="two_process_worker")
CONFTEST = runpy.run_path(str(Path(__file__).with_name("conftest.py")), run_name="training_conftest")
StopAfter, KilledError = CONFTEST["StopAfter"], CONFTEST["KilledError"]
CASES, GAMMA = STEP_WORKER["CASES"], STEP_WORKER["GAMMA"]
NUM_CLASSES, EPS = 10, 0.2
#: HAM skips a step where one process is left with fewer than two hard images: of a wide radius more are hard.
EPS_OF = {"ham": 0.4}
#: 39 images in batches of 15: shares of 8 and 7, 8 and 7, 5 and 4 rows.
IMAGES, BATCH_SIZE, EPOCHS, STEPS = 39, 15, 2, 3
#: 40 validation images in three blocks of the batch size: the first process has two, which are not in a row.
VALIDATED_PER_CLASS = 4
#: When a training is stopped: after two of three steps of the first and of the second epoch.
STOPS = (2, STEPS + 2)


@functools.cache
def images(split: str, per_class: int) -> ArrayDataset:
    """Digits with pixels as the constructor refuses them: everything after them is then computed in float64."""
    dataset = load_dataset("digits", split).first_per_class(per_class)
    if split == "train":
        dataset = dataset.take(np.arange(IMAGES), selection="all but the last")
    dataset.x = dataset.x.double() / 255
    return dataset


def network(seed: int) -> nn.Module:
    """A network that knows some digits already, so that classes differ and attacks withstand and succeed."""
    torch.manual_seed(seed)
    made = nn.Sequential(nn.Flatten(), nn.Linear(64, 12), nn.Tanh(), nn.Linear(12, NUM_CLASSES))
    train = images("train", 4)
    optimiser = torch.optim.SGD(made.parameters(), lr=0.5)
    for _ in range(20):
        optimiser.zero_grad()
        nn.functional.cross_entropy(made(train.x), torch.from_numpy(train.y)).backward()
        optimiser.step()
    return made


def job(case: str) -> Job:
    name, hyper, slots = CASES[case]
    if name == "cfa":
        hyper = hyper | {"threshold": 0.0}  # its gate lets no average begin before the worst class is robust
    roles = METHODS[name].roles + (("natural",) if hyper.get("variant") == "II" else ())
    method = METHODS[name](
        NUM_CLASSES, eps=EPS_OF.get(name, EPS), teachers={role: network(1 + k) for k, role in enumerate(roles)},
        slots={slot: CLASS_RULES[rule] for slot, rule in slots.items()}, steps=4, **hyper,
    )  # fmt: skip
    recipe = Recipe(
        "test", epochs=EPOCHS, batch_size=BATCH_SIZE, lr=0.3, schedule=((0.5, 0.1),), average=("step", 0.9),
        awp=GAMMA.get(case, 0.0), validation_attack="pgd2", select="best-worst-class",
    )  # fmt: skip
    return Job(
        network(0), method, recipe, images("train", 4), images("validation", VALIDATED_PER_CLASS),
        Threat.parse("Linf", str(EPS)), 0, torch.device("cpu"), {"case": case},
    )  # fmt: skip


def start(case: str, folder: Path, *, stop: int | None = None) -> Training:
    """Train in a folder, from the state in it if there is one; to the end, or until it is stopped."""
    folder.mkdir(parents=True, exist_ok=True)
    training = Training(
        job(case), state_path=folder / "t.state", log_path=folder / "t.log.jsonl", name="t",
        save_every=300 if stop is None else 0, progress=Silent() if stop is None else StopAfter(stop),
    )  # fmt: skip
    try:
        training.run()
    except KilledError:
        return training
    assert stop is None, "it ended before it was stopped"
    return training


def everything(training: Training) -> dict:
    """All that a training ends with: its state on disk (weights, momentum, method, meters, log) and its network."""
    state = torch.load(training.state_path, weights_only=True)
    for line in [*training.log, *state["log"], state["unvalidated"]]:
        line.pop("seconds", None)
    del state["totals"]["seconds"], state["generator"]
    return {"state": state, "deployed": dict(training.network.state_dict()), "log": training.log}


def run(cases: list[str], folder: Path, work) -> None:
    """Do work(case, its folder) in float64."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        with torch.random.fork_rng():
            for case in cases:
                work(case, folder / case)
    finally:
        torch.set_default_dtype(before)


def of_two(case: str, folder: Path) -> None:
    """What two processes do: the whole, stops, and the rest of what one process has begun; each must end alike."""
    ended = {"two": start(case, folder / "two")}
    for stop in STOPS:
        start(case, folder / f"two, {stop}, one", stop=stop)
        ended[f"one, {stop}, two"] = start(case, folder / f"one, {stop}, two")
    for name, training in ended.items():
        weights = torch.cat([value.flatten() for value in training.network.state_dict().values()])
        assert len({tuple(each) for each in distributed.gather_objects(weights.tolist())}) == 1
        if distributed.is_main():
            torch.save(everything(training), folder / f"{name}.pt")


def main() -> None:
    torch.set_num_threads(1)
    distributed.start(torch.device("cpu"))
    run(sys.argv[2:], Path(sys.argv[1]), of_two)
    distributed.stop()
    STEP_WORKER["check_that_no_thread_is_left"]()


if __name__ == "__main__":
    main()
