"""Offsets of the logits: one step by hand, which round is taken, and that only validation images are looked at."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from fairbench.errors import BadInput
from fairbench.evaluation import adjust
from fairbench.evaluation.adjust import Round, best_round, fit_offsets, moved, with_offsets
from fairbench.progress import Silent
from fairbench.threat import Threat


def test_one_step_by_hand():
    """Mean .5: +2 * .3, 0, -2 * .3, and an absent class as the mean; the result has mean 0 already."""
    found = moved(np.zeros(4), np.array([0.2, 0.5, 0.8, math.nan]), 2.0)
    assert found.tolist() == pytest.approx([0.6, 0, -0.6, 0])
    again = moved(np.array([1.0, 1.0]), np.array([0.5, 0.5]), 2.0)
    assert again.tolist() == [0, 0]


ROUNDS = [
    Round((), 0.9, 0.50, 0.20),
    Round((), 0.9, 0.48, 0.30),
    Round((), 0.9, 0.40, 0.36),
    Round((), 0.9, 0.48, 0.30),
]


@pytest.mark.parametrize(
    ("objective", "max_price", "wanted"),
    [("sum", None, 1), ("worst-class", None, 2), ("worst-class", 2.0, 1), ("sum", 1.0, 0), ("worst-class", 0.0, 0)],
)
def test_which_round_is_taken(objective, max_price, wanted):
    assert best_round(ROUNDS, objective, max_price) == wanted


def test_the_last_bias_moves_and_nothing_else(model, dataset):
    before = {name: value.clone() for name, value in model.state_dict().items()}
    adjusted = with_offsets(model, [1.0, -1.0, 0.5, 0.0, -0.5], dataset)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert adjusted.state_dict().keys() == before.keys()
    x = torch.rand(3, 1, 6, 6)
    torch.testing.assert_close(adjusted(x) - model(x), torch.tensor([[1.0, -1.0, 0.5, 0.0, -0.5]]).expand(3, 5))


def test_networks_whose_logits_cannot_be_moved_are_refused(model, dataset):
    bare = nn.Sequential(nn.Flatten(), nn.Linear(36, 5, bias=False))
    with pytest.raises(BadInput, match="without a bias"):
        with_offsets(bare, [0.0] * 5, dataset)
    with pytest.raises(BadInput, match="no linear layer"):
        with_offsets(nn.Sequential(nn.Flatten(), nn.Linear(36, 5), nn.Tanh()), [0.0] * 5, dataset)
    with pytest.raises(BadInput, match="do not fit"):
        with_offsets(model, [0.0] * 4, dataset)


def fitted(model, data, **options):
    given = {
        "attack": "pgd3", "threat": Threat.parse("Linf", "0.02"), "rounds": 4, "rate": 0.5, "objective": "sum",
        "max_price": None, "seed": 0, "batch_size": 16, "device": torch.device("cpu"), "progress": Silent(),
    }  # fmt: skip
    return fit_offsets(model, data, **{**given, **options})


def test_a_bias_that_hides_a_class_is_undone(model, dataset):
    """Labels are what the network says; then class 2 is pushed away by 3 logits, and the fit brings it back."""
    with torch.no_grad():
        model[3].bias[2] -= 3
    found = fitted(model, dataset, rounds=8)
    first, taken = found.rounds[0], found.rounds[found.chosen]
    assert found.chosen > 0
    assert found.offsets[2] == max(found.offsets)
    assert sum(found.offsets) == pytest.approx(0, abs=1e-9)
    assert taken.average + taken.worst > first.average + first.worst
    assert found == fitted(model, dataset, rounds=8)


def test_each_round_attacks_the_adjusted_network(model, dataset, monkeypatch):
    """Examples against the network before would flatter the one after."""
    seen, real = [], adjust.attack_table

    def watched(network, data, *rest, **options):
        assert data is dataset
        seen.append(network[3].bias.detach().clone())
        return real(network, data, *rest, **options)

    monkeypatch.setattr(adjust, "attack_table", watched)
    found = fitted(model, dataset)
    assert len(seen) == len(found.rounds) == 5
    for bias, one in zip(seen, found.rounds, strict=True):
        torch.testing.assert_close(bias, model[3].bias.detach() + torch.tensor(one.offsets, dtype=torch.float32))
    assert not torch.equal(seen[0], seen[1])


@pytest.mark.parametrize("options", [{"objective": "avg"}, {"rounds": 0}, {"rate": 0.0}, {"max_price": -1.0}])
def test_senseless_options_are_refused(options, model, dataset):
    with pytest.raises(BadInput):
        fitted(model, dataset, **options)
