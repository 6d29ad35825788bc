from __future__ import annotations

import pytest
import torch
from torch import nn

from fairbench.attacks.linf import input_gradient, no_start
from fairbench.attacks.pgd import pgd
from fairbench.attacks.temperature_pgd import temperature_pgd, tempered_margin
from fairbench.errors import BadInput
from fairbench.losses import cross_entropy, margin
from fairbench.sample_random import SampleRandom


def test_temperature_one_is_pgd_bit_for_bit(network, images, random):
    x, y = images
    for where in ("divide", "multiply"):
        tempered = temperature_pgd(network, x, y, eps=0.1, random=random, temperature=1.0, where=where, steps=8)
        assert torch.equal(tempered, pgd(network, x, y, eps=0.1, random=random, steps=8))


def test_temperature_one_is_pgd_also_where_that_stalls(linear, inner_images):
    """A margin of over 1,000: exp(-1000) is 0, the cross-entropy's gradient too, and T = 1 means that attack."""
    x, y = inner_images
    linear.weight.data *= 1e5
    random = SampleRandom(0, "a", torch.arange(8))
    x_adv = temperature_pgd(linear, x, y, eps=0.01, random=random, temperature=1.0, start=no_start, steps=3)
    assert torch.equal(x_adv, pgd(linear, x, y, eps=0.01, random=random, start=no_start, steps=3))
    assert torch.equal(x_adv[margin(linear(x), y) > 0], x[margin(linear(x), y) > 0])


@pytest.mark.parametrize("temperature", [0.1, 0.5, 2.0, 30.0])
def test_value_has_the_direction_of_the_tempered_cross_entropy(network, images, temperature):
    """d CE(z/T) = sigmoid(s/T)/T ds with s the value: equal up to a positive factor per sample; checked in float64."""
    x, y = images
    model = network.double()
    wanted, _ = input_gradient(model, x.double(), lambda z, _: cross_entropy(z / temperature, y))
    found, _ = input_gradient(model, x.double(), lambda z, _: tempered_margin(z, y, temperature))
    ratio = wanted.flatten(1).norm(dim=1) / found.flatten(1).norm(dim=1)
    torch.testing.assert_close(wanted, ratio[:, None, None, None] * found, rtol=1e-6, atol=1e-12)
    assert (ratio > 0).all()


@pytest.mark.parametrize("temperature", [1e-2, 1e-3, 1e-6])
def test_a_small_temperature_does_not_stall(linear, inner_images, temperature):
    """Margins of 20 and more: exp(-20 / T) is 0 in float32 and float64, and plain cross-entropy stands still."""
    x, y = inner_images
    linear.weight.data *= 100
    confident = (margin(linear(x), y) > 20).nonzero()[:, 0]
    assert len(confident) >= 2
    x, y = x[confident], y[confident]
    random = SampleRandom(0, "a", confident)
    stalled = pgd(
        linear, x, y, eps=0.1, random=random, start=no_start, steps=20,
        objective=lambda z, _, rows: cross_entropy(z / temperature, y[rows]),
    )  # fmt: skip
    assert torch.equal(stalled, x)
    x_adv = temperature_pgd(linear, x, y, eps=0.1, random=random, temperature=temperature, start=no_start, steps=20)
    drop = margin(linear(x), y) - margin(linear(x_adv), y)
    limit = 0.1 * float(linear.weight.abs().sum())
    torch.testing.assert_close(drop, torch.full_like(drop, limit), rtol=1e-4, atol=1e-3)


def test_where_multiply_is_the_inverse_temperature(network, images, random):
    x, y = images
    divided = temperature_pgd(network, x, y, eps=0.1, random=random, temperature=4.0)
    multiplied = temperature_pgd(network, x, y, eps=0.1, random=random, temperature=0.25, where="multiply")
    assert torch.equal(divided, multiplied)


def test_temperature_changes_where_it_leads():
    """Three classes: at low T the nearest rival is chased, at high T all rivals, so the directions differ."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(3, 3, bias=False))
    model[1].weight.data = torch.tensor([[5.0, 0.0, 0.0], [4.0, 1.0, 0.0], [0.0, -3.0, 6.0]])
    x, y = 0.5 * torch.ones(1, 1, 1, 3), torch.tensor([0])
    random = SampleRandom(0, "a", torch.tensor([0]))
    moves = {
        t: temperature_pgd(model, x, y, eps=0.01, random=random, temperature=t, start=no_start, steps=1) - x
        for t in (0.01, 100.0)
    }
    # Low T: gradient z_1 - z_0 = (-1, 1, 0). High T: the mean of both rivals minus the label: (-3, -1, 3).
    assert torch.equal(moves[0.01].sign().flatten(), torch.tensor([-1.0, 1.0, 0.0]))
    assert torch.equal(moves[100.0].sign().flatten(), torch.tensor([-1.0, -1.0, 1.0]))


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan"), float("inf")])
def test_senseless_temperatures_are_refused(network, images, random, temperature):
    x, y = images
    with pytest.raises(BadInput, match="temperature"):
        temperature_pgd(network, x, y, eps=0.1, random=random, temperature=temperature)


@pytest.mark.parametrize("temperature", [1e-3, 1e-6])
def test_a_small_temperature_is_the_margin_attack_on_a_confident_network(network, images, random, temperature):
    """As T -> 0 the value tends to minus the margin: the same steps wherever the top rival leads by many T.

    Logits times 1,000 (margins of hundreds): the probabilities of float32 are exactly 0 and 1 at every T here.
    """
    x, y = images
    last = [module for module in network.modules() if isinstance(module, nn.Linear)][-1]
    last.weight.data *= 1000
    y = network(x).argmax(1)
    assert (margin(network(x), y) > 1).all()
    cold = temperature_pgd(network, x, y, eps=0.1, random=random, temperature=temperature, steps=1, start=no_start)
    wanted = pgd(
        network, x, y, eps=0.1, random=random, steps=1, start=no_start,
        objective=lambda z, _, rows: -margin(z, y[rows]),
    )  # fmt: skip
    assert torch.equal(cold, wanted)
    assert (cold != x).flatten(1).any(1).all()
