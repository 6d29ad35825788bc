"""Two gloo processes with an uneven last batch against one on the whole batch, in float64, without batch norm."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

WORKER = Path(__file__).with_name("two_process_worker.py")


def load_worker():
    spec = importlib.util.spec_from_file_location("two_process_worker", WORKER)
    worker = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(worker)
    return worker


worker = load_worker()


def near(two, one, what: str) -> None:
    assert two == pytest.approx(one, rel=0, abs=1e-9), what


@pytest.fixture
def check(tmp_path, two_processes):
    """After every step: loss and gradient; after every step and at every epoch's start: all state of the method."""

    def compare(cases) -> None:
        one = worker.train_all(cases)
        two_processes(WORKER, [str(tmp_path), *cases])
        two, other = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2))
        assert two == other, "the processes ended with different tensors"
        each_case(cases, one, two)

    return compare


def each_case(cases, one, two) -> None:
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


def test_two_methods_and_perturbed_weights(check):
    check(["trades", "absld", "trades awp"])


@pytest.mark.slow
def test_every_method_and_variant(check):
    check(list(worker.CASES))


def test_a_gamma_of_weight_perturbation_makes_another_step():
    """Otherwise the cases with one would show nothing that those without do not."""
    results = worker.train_all(["trades", "trades awp"])
    losses = [results[case]["loss"] for case in ("trades", "trades awp")]
    assert all(perturbed > plain + 1e-3 for plain, perturbed in zip(*losses, strict=True))


@pytest.mark.slow
def test_the_comparison_sees_a_gradient_that_is_not_shared(monkeypatch):
    """Without its other half the batch's gradient is another: the tolerance is not too wide."""
    whole = worker.train_all(["sat"])["sat"]["gradient"][0]
    monkeypatch.setattr(worker, "BATCHES", (7, 4))
    half = worker.train_all(["sat"])["sat"]["gradient"][0]
    assert max(abs(a - b) for a, b in zip(whole, half, strict=True)) > 1e-3
