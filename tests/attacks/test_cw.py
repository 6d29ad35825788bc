from __future__ import annotations

import torch

from fairbench.attacks.cw import cw
from fairbench.attacks.linf import no_start
from fairbench.losses import margin
from fairbench.sample_random import SampleRandom


def test_reaches_the_closed_form(linear, inner_images):
    x, y = inner_images
    x_adv = cw(linear, x, y, eps=0.1, random=SampleRandom(0, "a", torch.arange(8)), steps=20)
    drop = margin(linear(x), y) - margin(linear(x_adv), y)
    torch.testing.assert_close(drop, torch.full((8,), 0.1 * float(linear.weight.abs().sum())), rtol=1e-5, atol=1e-5)


def test_kappa_rests_once_the_margin_is_below_minus_kappa(linear, inner_images):
    """|w|_1 = 16.7, so a step of 0.01 lowers the margin by 0.167: the attack rests within 0.167 below -kappa."""
    x, y = inner_images
    options = {"eps": 0.3, "random": SampleRandom(0, "a", torch.arange(8)), "steps": 200, "step_size": 0.01}
    end = margin(linear(cw(linear, x, y, kappa=0.5, start=no_start, **options)), y).detach()
    moved = margin(linear(x), y) > -0.5
    assert moved.any()
    assert ((end[moved] <= -0.5 + 1e-5) & (end[moved] > -0.5 - 0.167 - 1e-5)).all()
    free = margin(linear(cw(linear, x, y, start=no_start, **options)), y)
    assert (free < end - 0.5).all()


def test_a_large_kappa_is_no_limit(network, images, random):
    x, y = images
    limited = cw(network, x, y, eps=0.1, random=random, kappa=50.0, steps=5)
    assert torch.equal(limited, cw(network, x, y, eps=0.1, random=random, steps=5))
