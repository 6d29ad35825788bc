"""Averages of weights."""

from __future__ import annotations

import torch
from torch import nn
from torch.testing import assert_close

from fairbench.training.averaging import WeightAverage


def network_at(value: float) -> nn.Module:
    network = nn.BatchNorm1d(2)
    with torch.no_grad():
        network.weight.fill_(value)
        network.running_mean.fill_(10 * value)
        network.num_batches_tracked.fill_(int(value))
    return network


def test_decay_by_hand():
    """Starts as a copy of 1; then .5 * 1 + .5 * 3 = 2; then .5 * 2 + .5 * 4 = 3. Buffers alike; counters are copied."""
    average = WeightAverage(("epoch", 0.5))
    for value in (1.0, 3.0, 4.0):
        average.add(network_at(value))
    assert_close(average.weights["weight"], torch.full((2,), 3.0))
    assert_close(average.weights["running_mean"], torch.full((2,), 30.0))
    assert average.weights["num_batches_tracked"] == 4


def test_uniform_is_the_mean():
    average = WeightAverage(("step", "uniform"))
    for value in (1.0, 2.0, 6.0):
        average.add(network_at(value))
    assert_close(average.weights["weight"], torch.full((2,), 3.0))


def test_the_average_is_a_copy_and_is_lent():
    average, network = WeightAverage(("epoch", 0.5)), network_at(1.0)
    average.add(network)
    with torch.no_grad():
        network.weight.fill_(0.1)
    with average.applied(network):
        assert network.weight[0] == 1
    assert network.weight[0] == torch.tensor(0.1)
    assert average.weights["weight"][0] == 1


def test_state_continues():
    one, other = WeightAverage(("step", "uniform")), WeightAverage(("step", "uniform"))
    one.add(network_at(1.0))
    other.load_state_dict(one.state_dict(), torch.device("cpu"))
    for average in (one, other):
        average.add(network_at(2.0))
    assert torch.equal(one.weights["weight"], other.weights["weight"])
