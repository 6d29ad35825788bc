"""`fairbench eval` does not believe a model that looks wrong, and says what accepts it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import torch

from fairbench.data import registry
from fairbench.runs import read_run


def test_a_refusal_names_what_accepts_it(trained, checkpoint, quick, evaluated, bad):
    """All classes moved on by one: the accuracy is near 0."""
    state = {key: value.clone() for key, value in trained.state_dict().items()}
    name = [key for key, value in state.items() if value.ndim == 2][-1]
    for key in (name, name.replace("weight", "bias")):
        state[key] = state[key].roll(1, 0)
    torch.save(state, checkpoint)
    checkpoint.with_suffix(".json").unlink()
    arguments = (checkpoint, *quick, "--dataset", "digits", "--model", "small-cnn")
    message = bad(*arguments)
    assert "another order" in message
    assert "--accept low-accuracy" in message
    code, out, _ = evaluated(*arguments, "--accept", "low-accuracy")
    assert code == 0
    assert "accepted low-accuracy" in out


def test_a_missing_normalisation_is_named(trained, checkpoint, monkeypatch, quick, evaluated, bad):
    """First weights times 0.05: the network of someone who trained on x / 0.05 and kept the division outside."""
    spec = dataclasses.replace(registry.DATASETS["digits"], normalizations={"scaled": ((0.0,), (0.05,))})
    monkeypatch.setitem(registry.DATASETS, "digits", spec)
    state = {key: value.clone() for key, value in trained.state_dict().items()}
    first = next(key for key, value in state.items() if value.ndim == 4)
    state[first] *= 0.05
    torch.save(state, checkpoint)
    checkpoint.with_suffix(".json").unlink()
    arguments = (checkpoint, *quick, "--dataset", "digits", "--model", "small-cnn")
    assert "--normalize scaled, or --normalize none" in bad(*arguments)
    code, out, err = evaluated(*arguments, "--normalize", "0/0.05")
    assert code == 0, err
    assert read_run(Path(out.splitlines()[-1])).record["model"]["normalize"] == "0/0.05"
    code, out, _ = evaluated(*arguments, "--normalize", "none", "--accept", "low-accuracy")
    assert code == 0
    assert not [flag for flag in read_run(Path(out.splitlines()[-1])).record["flags"] if flag["name"] == "normalize"]
    code, out, _ = evaluated(*arguments, "--accept", "normalize", "--accept", "low-accuracy", "--out", "taken")
    assert code == 0
    assert "accepted normalize" in out
