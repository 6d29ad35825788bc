"""Adversarial weight perturbation."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from fairbench.methods.base import Batch, Method
from fairbench.training import awp
from fairbench.training.awp import perturbed
from fairbench.training.forward import Forward
from fairbench.training.step import Stepper
from fairbench.training.totals import EpochTotals


def test_perturbation_by_hand():
    """w = (3, 4), loss = 2 w_1: g = (2, 0), so delta = gamma |w| g / |g| = .1 * 5 (1, 0) = (.5, 0); the bias stays."""
    layer = nn.Linear(2, 1)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[3.0, 4.0]]))
        layer.bias.fill_(1.0)
    with perturbed(layer, lambda: layer(torch.tensor([[2.0, 0.0]])).sum(), 0.1):
        assert_close(layer.weight.detach(), torch.tensor([[3.5, 4.0]]))
        assert layer.bias.item() == 1
        assert layer.weight.grad is None
    assert torch.equal(layer.weight.detach(), torch.tensor([[3.0, 4.0]]))


class FirstLogit(Method):
    """Minimise the square of the first logit, on images as they are."""

    name = "first-logit"

    def attack(self, model, batch, random):
        return batch.plus(x_adv=batch.x)

    def loss(self, model, batch):
        logits = model(batch.adversarial)
        return self.reduce(batch.y, {"robust": (1.0, logits[:, 0] ** 2)}, {"robust": logits})


def test_weight_decay_acts_on_the_weights_and_not_on_the_perturbed_ones():
    """w = (3, 4), loss w_1^2 at x = (1, 0): delta = .1 * 5 (1, 0), gradient 2 * 3.5 = 7 at w + delta.

    With lr .1 and decay .2: 3 - .1 * (7 + .2 * 3) = 2.24 and 4 - .1 * .2 * 4 = 3.92; the released order of decay and
    restoring gives 3 - .1 * (7 + .2 * 3.5) = 2.23.
    """
    network = nn.Sequential(nn.Flatten(), nn.Linear(2, 1, bias=False))
    with torch.no_grad():
        network[1].weight.copy_(torch.tensor([[3.0, 4.0]]))
    model = Forward(network)
    optimiser = torch.optim.SGD(network.parameters(), lr=0.1, weight_decay=0.2)
    batch = Batch(torch.tensor([[[[1.0, 0.0]]]] * 2), torch.tensor([0, 0]), torch.arange(2))
    stepper = Stepper(model, FirstLogit(1, eps=0.1), optimiser, seed=0)
    assert stepper.take(batch, epoch=0, rows=2, gamma=0.1, totals=EpochTotals())
    assert_close(network[1].weight.detach(), torch.tensor([[2.24, 3.92]]))


def test_weights_come_back_bit_for_bit_also_after_an_error_and_statistics_do_not_move():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2)).train()
    before = {name: value.clone() for name, value in network.state_dict().items()}

    def fail():
        with perturbed(network, lambda: network(torch.rand(5, 3)).pow(2).sum(), 0.01):
            assert not torch.equal(network[0].weight, before["0.weight"])
            assert torch.equal(network[1].weight, before["1.weight"])  # one dimension: not perturbed
            raise RuntimeError("loss failed")

    with pytest.raises(RuntimeError, match="loss failed"):
        fail()
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())


def test_a_training_with_awp_differs_and_counts_its_passes(tiny, tmp_path):
    """Per step: 2 attack passes and 1 of the loss, and with AWP 1 more."""
    results = []
    for number, gamma in enumerate((0.0, 0.01)):
        (tmp_path / str(number)).mkdir()
        training = tiny.training(tiny.job(epochs=1, awp=gamma), folder=tmp_path / str(number))
        training.run()
        results.append(training)
    assert results[0].log[0]["forwards"] == results[0].log[0]["backwards"] == 40 * 3
    assert results[1].log[0]["forwards"] == results[1].log[0]["backwards"] == 40 * 4
    assert not torch.equal(results[0].network[0].weight, results[1].network[0].weight)
    counters = [training.network[1].num_batches_tracked.item() for training in results]
    assert counters == [3, 3]


def test_the_card_is_whole():
    """What is published and measured of it is said, as in every method's card."""
    found = [line.split()[0] for line in awp.__doc__.splitlines() if line and not line.startswith(" ")][1:]
    assert found == ["Paper", "Official", "Published", "Measured", "Differs"]


def test_awp_starts_at_its_fraction(tiny, tmp_path):
    training = tiny.training(tiny.job(epochs=2, awp=0.01, awp_start=0.5))
    training.run()
    assert [line["forwards"] for line in training.log] == [40 * 3, 40 * 4]
