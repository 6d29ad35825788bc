"""The last layer is found by what it computes, and by nothing else."""

from __future__ import annotations

import json

import pytest
import torch
from torch import nn

from fairbench.evaluation.classifier import classifier_record, find_classifier
from fairbench.evaluation.evaluate import evaluate
from fairbench.metrics.correlates import read_classifier
from fairbench.models.normalize import Normalized

X = torch.rand(2, 1, 2, 2, generator=torch.Generator().manual_seed(0))


def test_norms_by_hand():
    layer = nn.Linear(4, 2)
    layer.weight.data = torch.tensor([[3.0, 4.0, 0.0, 0.0], [0.0, 0.0, 5.0, 12.0]])
    layer.bias.data = torch.tensor([0.5, -1.0])
    record = classifier_record(nn.Sequential(nn.Flatten(), layer), X)
    assert record == {"schema": 1, "layer": "1", "weight_norm": [5.0, 13.0], "bias": [0.5, -1.0], "reason": None}


def test_behind_a_normalisation_and_without_bias():
    network = nn.Sequential(nn.Flatten(), nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 5, bias=False))
    record = classifier_record(Normalized(network, ((0.5,), (0.25,)), "x"), X)
    assert record["layer"] == "network.3"
    assert record["bias"] is None
    assert len(record["weight_norm"]) == 5


class Scaled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 2)

    def forward(self, x):
        return 10 * self.fc(x.flatten(1))


@pytest.mark.parametrize("network", [Scaled(), nn.Sequential(nn.Conv2d(1, 3, 2), nn.Flatten())])
def test_a_layer_that_does_not_give_the_logits_is_not_it(network):
    assert find_classifier(network, X) is None
    record = classifier_record(network, X)
    assert record["layer"] is None
    assert record["weight_norm"] is None
    assert "no linear layer" in record["reason"]


def test_the_generator_and_the_hooks_are_left_as_they_were():
    network = nn.Sequential(nn.Flatten(), nn.Dropout(), nn.Linear(4, 2)).train()
    before = torch.get_rng_state()
    assert find_classifier(network, X) is not None
    assert torch.equal(before, torch.get_rng_state())
    assert not network[2]._forward_hooks


def test_an_evaluation_writes_it(model, dataset, tmp_path):
    evaluate(model, dataset, "fgsm", eps="0.1", out=tmp_path / "run")
    found = read_classifier(tmp_path / "run", 5)
    assert found["layer"] == "3"
    assert found["weight_norm"] == pytest.approx(model[3].weight.detach().double().norm(dim=1).tolist())
    json.loads((tmp_path / "run" / "classifier.json").read_text(), parse_constant=pytest.fail)
