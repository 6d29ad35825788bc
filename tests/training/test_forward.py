"""The network as methods call it."""

from __future__ import annotations

import torch
from torch.testing import assert_close

from fairbench.training.forward import Forward


def test_is_the_network_and_counts_samples(tiny):
    network = tiny.network().eval()
    model, x = Forward(network), torch.rand(5, 1, 8, 8)
    assert torch.equal(model(x), network(x))
    model(x[:2]).sum().backward()
    with torch.no_grad():
        model(x)
    assert (model.forwards, model.backwards) == (5 + 2 + 5, 2)
    model.count_from()
    assert (model.forwards, model.backwards) == (0, 0)


def test_gradient_to_the_input_counts_once(tiny):
    model, x = Forward(tiny.network().eval()), torch.rand(3, 1, 8, 8, requires_grad=True)
    torch.autograd.grad(model(x).sum(), x)
    assert model.backwards == 3


def test_bf16_logits_come_back_in_the_type_of_x(tiny):
    network, x = tiny.network().eval(), torch.rand(4, 1, 8, 8)
    logits = Forward(network, precision="bf16")(x)
    assert logits.dtype == torch.float32
    assert not torch.equal(logits, network(x))
    assert_close(logits, network(x), atol=0.05, rtol=0.05)


def test_channels_last_changes_the_layout_only(tiny):
    x = torch.rand(4, 1, 8, 8)
    expected = tiny.network().eval()(x)
    assert_close(Forward(tiny.network().eval(), channels_last=True)(x), expected)


def test_the_network_is_registered_once(tiny):
    network = tiny.network()
    model = Forward(network, compiled=True)
    assert list(model.state_dict()) == [f"network.{name}" for name in network.state_dict()]
    assert len(list(model.parameters())) == len(list(network.parameters()))
