"""The state file: whole or refused in one sentence."""

from __future__ import annotations

import os
import pickle

import pytest
import torch

from fairbench.errors import BadInput
from fairbench.training.state import check_settings, read_state, write_state


def test_round_trip(tmp_path):
    path = tmp_path / "a.state"
    assert read_state(path) is None
    write_state(path, {"settings": {"seed": 0}, "network": {"w": torch.arange(3)}, "log": [{"epoch": 1, "x": None}]})
    state = read_state(path)
    assert state["settings"] == {"seed": 0}
    assert state["network"]["w"].tolist() == [0, 1, 2]
    assert state["log"] == [{"epoch": 1, "x": None}]
    assert [path.name for path in tmp_path.iterdir()] == ["a.state"]


class Evil:
    def __reduce__(self):
        return os.mkdir, ("evil-was-here",)


def _truncated(path):
    write_state(path, {"settings": {}, "w": torch.zeros(1000)})
    path.write_bytes(path.read_bytes()[:-200])


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"not a state at all"),
        lambda path: path.write_bytes(pickle.dumps({"settings": Evil()})),
        lambda path: torch.save({"settings": {}, "schema": 1, "x": Evil()}, path),
        lambda path: torch.save([1, 2], path),
        lambda path: torch.save({"weights": torch.zeros(1)}, path),
        _truncated,
        lambda path: path.mkdir(),
    ],
    ids=["empty", "text", "pickle", "code", "list", "weights", "truncated", "folder"],
)
def test_anything_else_is_refused_and_never_run(tmp_path, monkeypatch, damage):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "a.state"
    damage(path)
    with pytest.raises(BadInput, match="state") as caught:
        read_state(path)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "evil-was-here").exists()


def test_newer_schema_is_refused_by_name(tmp_path):
    torch.save({"settings": {}, "schema": 99}, tmp_path / "a.state")
    with pytest.raises(BadInput, match="schema 99"):
        read_state(tmp_path / "a.state")


@pytest.mark.parametrize(
    ("there", "what"),
    [
        ({"seed": 1, "recipe": {"lr": 0.1}}, "seed = 1 there, but 0 here"),
        ({"seed": 0, "recipe": {"lr": 0.2}}, "recipe lr = 0.2 there, but 0.1 here"),
        ({"seed": 0}, "recipe = nothing there"),
        ({"seed": 0, "recipe": {"lr": 0.1}, "more": 1}, "more = 1 there, but nothing here"),
    ],
)
def test_the_first_difference_is_named(tmp_path, there, what):
    with pytest.raises(BadInput, match=what):
        check_settings(tmp_path / "a.state", there, {"seed": 0, "recipe": {"lr": 0.1}})
    check_settings(tmp_path / "a.state", there, there)
