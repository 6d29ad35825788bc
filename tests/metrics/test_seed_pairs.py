"""Which pairs of runs are one method against another under several seeds."""

from __future__ import annotations

from typing import Any

import pytest

from fairbench.errors import BadInput
from fairbench.metrics.seed_pairs import refuse_unlike
from fairbench.outcomes import Outcomes
from fairbench.runs import Run

TABLE = Outcomes.of_columns("natural", index=[0], label=[0], prediction=[0])
TRAINED: dict[str, Any] = {
    "architecture": "small-cnn", "slots": {}, "hyper": {"steps": 10, "beta": 6.0}, "recipe": {"epochs": 30, "lr": 0.1},
    "selection": {"rule": "last", "epoch": 30, "metrics": {}},
}  # fmt: skip


def _run(method: str, seed: int | None, **changes: Any) -> Run:
    model = {"name": method, "sha256": f"{method} {seed} {changes}", "method": method, **TRAINED, **changes}
    return Run(f"{method}-{seed}", {"model": model if seed is None else {**model, "seed": seed}}, TABLE)


def _pairs(*seconds: Run) -> list[tuple[Run, Run]]:
    return [(_run("sat", 0), _run("trades", 0)), *((_run("sat", place), run) for place, run in enumerate(seconds, 1))]


def test_seeds_of_two_methods_trained_alike_pass() -> None:
    refuse_unlike(_pairs(_run("trades", 1), _run("trades", 2)))


def test_which_epoch_was_selected_may_differ() -> None:
    refuse_unlike(_pairs(_run("trades", 1, selection={"rule": "last", "epoch": 29, "metrics": {"natural": 1}})))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"architecture": "wide-cnn"}, "architecture (small-cnn against wide-cnn)"),
        ({"hyper": {"steps": 10, "beta": 1.0}}, "hyper-parameters (beta=6.0 against 1.0)"),
        ({"hyper": {"steps": 10}}, "hyper-parameters (beta=6.0 against None)"),
        ({"slots": {"reweight": "frl"}}, "class rules (reweight=None against frl)"),
        ({"recipe": {"epochs": 60, "lr": 0.1}}, "recipe (epochs=30 against 60)"),
        ({"selection": {"rule": "best-worst-class"}}, "rule of selection (last against best-worst-class)"),
    ],
)
def test_a_side_whose_trainings_differ_in_more_than_the_seed_is_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(BadInput, match="trained alike but for the seed") as refusal:
        refuse_unlike(_pairs(_run("trades", 1, **changes)))
    assert f"the second runs of the pairs differ in {words}" in str(refusal.value)


def test_two_methods_may_be_trained_differently() -> None:
    other = {"architecture": "wide-cnn", "hyper": {"steps": 1}, "recipe": {"epochs": 5}}
    refuse_unlike([(_run("sat", seed), _run("trades", seed, **other)) for seed in (0, 1)])


def test_a_seed_in_two_pairs_is_refused() -> None:
    """Another file with the same seed: a copy, or the same training again, and no further draw."""
    twice = _run("trades", 0, note="evaluated again")
    with pytest.raises(BadInput, match="the second runs of two pairs were both trained with seed 0"):
        refuse_unlike(_pairs(twice))


def test_a_pair_of_two_seeds_is_refused() -> None:
    with pytest.raises(BadInput, match="pair 2 compares a training with seed 1 with one with seed 5"):
        refuse_unlike(_pairs(_run("trades", 5)))


def test_what_a_record_does_not_know_is_not_refused() -> None:
    bare = dict.fromkeys(TRAINED)
    refuse_unlike(_pairs(_run("trades", None, **bare), _run("trades", None, **bare, note=2)))


def test_a_checkpoint_and_a_method_as_before() -> None:
    with pytest.raises(BadInput, match="stands in two pairs"):
        refuse_unlike(_pairs(_run("trades", 0)))
    with pytest.raises(BadInput, match="the second runs of the pairs were trained by different methods"):
        refuse_unlike(_pairs(_run("mart", 1)))


def test_a_refusal_is_short() -> None:
    other = {"hyper": {f"name{place}": "x" * 100 for place in range(50)}}
    with pytest.raises(BadInput) as refusal:
        refuse_unlike(_pairs(_run("trades", 1, **other)))
    assert len(str(refusal.value)) < 600
