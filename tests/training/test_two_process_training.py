"""The loop with two gloo processes against one on the whole batch, undisturbed and resumed on the other number of them.

After two epochs everything is compared that a training ends with: live weights, momentum, the average, the method's
buffers and the meters of the last epoch, the log with its losses, class states, counts and validation, and what is
deployed. In float64 and without batch norm the only difference is the order in which rows are summed; decisions (a sign
in the attack, a label, a survivor) would differ only where a number lies that close to its boundary, and then by far
more than the tolerance. The slow test prints the largest difference of each case: none was above 1e-12.
"""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest
import torch

WORKER = Path(__file__).with_name("two_process_training.py")
WORK = runpy.run_path(str(WORKER), run_name="two_process_training")
TOLERANCE = 1e-9


def differences(found, wanted, path: str = ""):
    """Yield (path, difference) of every number in two trees; whatever is no number must be equal."""
    if isinstance(wanted, dict):
        assert found.keys() == wanted.keys(), path
        for key, value in wanted.items():
            yield from differences(found[key], value, f"{path}/{key}")
    elif isinstance(wanted, list | tuple):
        assert len(found) == len(wanted), path
        for place, value in enumerate(wanted):
            yield from differences(found[place], value, f"{path}/{place}")
    elif isinstance(wanted, torch.Tensor):
        assert (found.dtype, found.shape) == (wanted.dtype, wanted.shape), path
        apart = (found.double() - wanted.double()).abs()
        yield path, apart.max().item() if apart.numel() else 0.0
    elif isinstance(wanted, float):
        yield path, 0.0 if found == wanted else abs(found - wanted)
    else:
        assert found == wanted, path


def of_one_process(case: str, folder: Path) -> None:
    """What waits for the two processes: trainings that one process has stopped."""
    for stop in WORK["STOPS"]:
        WORK["start"](case, folder / f"one, {stop}, two", stop=stop)


@pytest.fixture
def check(tmp_path, two_processes):
    """Return a function that trains cases in every way and compares; it returns the largest difference of each."""

    def train(cases: list[str]) -> dict[str, float]:
        WORK["run"](cases, tmp_path, of_one_process)
        two_processes(WORKER, [str(tmp_path), *cases])
        largest: dict[str, float] = {}

        def compare(case: str, folder: Path) -> None:
            whole = WORK["everything"](WORK["start"](case, folder / "one"))
            proves_something(case, whole)
            by_two = names("two", "one, {}, two")
            ended = {name: torch.load(folder / f"{name}.pt", weights_only=True) for name in by_two}
            for name in names("two, {}, one"):
                ended[name] = WORK["everything"](WORK["start"](case, folder / name))
            for name, found in ended.items():
                apart = dict(differences(found, whole))
                worst = max(apart, key=apart.__getitem__)
                assert apart[worst] <= TOLERANCE, f"{case}, {name}: {worst} differs by {apart[worst]:.2g}"
                largest[case] = max(largest.get(case, 0.0), apart[worst])

        WORK["run"](cases, tmp_path, compare)
        return largest

    return train


def names(*patterns: str) -> list[str]:
    return list(dict.fromkeys(pattern.format(stop) for pattern in patterns for stop in WORK["STOPS"]))


def proves_something(case: str, whole: dict) -> None:
    """No step was skipped, the weights moved, and so did the class state and the meters where there are any."""
    start = WORK["job"](case)
    assert [line["skipped_steps"] for line in whole["log"]] == [0] * WORK["EPOCHS"]
    assert whole["state"]["average"]["entered"] > 0
    for name, value in start.network.state_dict().items():
        assert not torch.equal(value, whole["state"]["network"][name]), f"{case}: {name} never moved"
    before, moved = start.method.state_dict(), {}
    for name, value in whole["state"]["method"].items():
        part = name.rpartition(".")[0]  # the method, a rule or a meter; not everything that it has must move
        moved[part] = moved.get(part, False) or not torch.equal(value, before[name])
    assert all(moved.values()), f"{case}: {[part for part in moved if not moved[part]]} never moved"


def test_two_methods(check):
    check(["absld", "wat"])


@pytest.mark.slow
def test_every_method_and_variant(check, capsys):
    largest = check(list(WORK["CASES"]))
    with capsys.disabled():
        print(f"\nlargest differences: {largest}")
