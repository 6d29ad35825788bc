from __future__ import annotations

import torch
from torch import nn

from fairbench.attacks.linf import linf_step, no_start, normal_start, uniform_start
from fairbench.attacks.pgd import pgd
from fairbench.losses import cross_entropy
from fairbench.sample_random import SampleRandom


def test_one_forward_per_step(linear, inner_images):
    x, y = inner_images
    pgd(linear, x, y, eps=0.1, random=SampleRandom(0, "a", torch.arange(8)), steps=7)
    assert linear.forwards == 7


def test_equals_its_steps_written_out(network, images, random):
    x, y = images
    expected = uniform_start(x, 0.1, random)
    for _ in range(6):
        expected, _ = linf_step(
            network, expected, x, value=lambda z, _: cross_entropy(z, y), eps=0.1, step_size=0.1 / 4
        )  # fmt: skip
    assert torch.equal(pgd(network, x, y, eps=0.1, random=random, steps=6), expected)


def test_on_step_sees_every_iterate_before_its_step(network, images, random):
    x, y = images
    seen = []
    x_adv = pgd(
        network, x, y, eps=0.1, random=random, steps=4, on_step=lambda logits, rows: seen.append((logits, rows))
    )  # fmt: skip
    assert len(seen) == 4
    assert torch.equal(seen[0][0], network(uniform_start(x, 0.1, random)).detach())
    assert torch.equal(seen[0][1], torch.arange(7))
    # Four steps of the same attack end where a fifth step would have looked.
    more = []
    pgd(network, x, y, eps=0.1, random=random, steps=5, on_step=lambda logits, rows: more.append(logits))
    assert torch.equal(more[4], network(x_adv).detach())
    assert not any(logits.requires_grad for logits in more)


def test_objective_sees_logits_pixels_and_rows(linear, inner_images):
    """Increasing the sum of pixels moves every pixel up by eps, whatever the model thinks."""
    x, y = inner_images
    x_adv = pgd(
        linear, x, y, eps=0.1, random=SampleRandom(0, "a", torch.arange(8)), steps=10, start=no_start,
        objective=lambda logits, x_adv, rows: x_adv.flatten(1).sum(1) * (rows % 2 * 2 - 1) + 0 * logits.sum(1),
    )  # fmt: skip
    sign = (torch.arange(8) % 2 * 2 - 1)[:, None, None, None]
    torch.testing.assert_close(x_adv, x + 0.1 * sign, rtol=0, atol=1e-6)


def test_normal_start_is_projected_by_the_first_step(network, images, random):
    x, y = images
    assert torch.equal(pgd(network, x, y, eps=0.0, random=random, steps=1, start=normal_start), x)
    x_adv = pgd(network, torch.zeros_like(x), y, eps=1e-4, random=random, steps=1, start=normal_start)
    assert x_adv.min() >= 0
    assert x_adv.max() <= 1e-4 + 1e-9


def test_weights_get_no_gradients_and_frozen_models_work(network, images, random):
    x, y = images
    pgd(network, x, y, eps=0.1, random=random, steps=2)
    assert all(p.grad is None for p in network.parameters())
    for p in network.parameters():
        p.requires_grad_(False)
    with torch.no_grad():
        inside = pgd(network, x, y, eps=0.1, random=random, steps=2)
    assert not torch.equal(inside, x)


def test_float64_pixels_stay_float64(random, images):
    x, y = images
    model = nn.Sequential(nn.Flatten(), nn.Linear(36, 5)).double()
    assert pgd(model, x.double(), y, eps=0.1, random=random).dtype == torch.float64


def test_two_steps_are_not_twenty(network, images, random):
    """A planted PGD-20 that takes 2 steps ends elsewhere and lower."""
    x, y = images
    ends = [pgd(network, x, y, eps=0.1, random=random, steps=n) for n in (2, 20)]
    with torch.no_grad():
        loss = [float(cross_entropy(network(end), y).mean()) for end in ends]
    assert loss[1] > loss[0] + 0.01
