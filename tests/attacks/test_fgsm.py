from __future__ import annotations

import torch

from fairbench.attacks.fgsm import fgsm
from fairbench.losses import margin
from fairbench.sample_random import SampleRandom


def test_one_step_of_the_whole_radius(linear, inner_images):
    """FGSM is optimal on a linear model: every pixel moves by eps against the label's weight."""
    x, y = inner_images
    x_adv = fgsm(linear, x, y, eps=0.1, random=SampleRandom(0, "a", torch.arange(8)))
    assert linear.forwards == 1
    expected = x - 0.1 * linear.weight.sign().view(1, 3, 2, 2) * (2 * y - 1)[:, None, None, None]
    torch.testing.assert_close(x_adv, expected, rtol=0, atol=1e-6)
    drop = margin(linear(x), y) - margin(linear(x_adv), y)
    torch.testing.assert_close(drop, torch.full((8,), 0.1 * float(linear.weight.abs().sum())), rtol=1e-5, atol=1e-5)


def test_step_size_and_start_are_keywords(linear, inner_images):
    x, y = inner_images
    random = SampleRandom(0, "a", torch.arange(8))
    short = fgsm(linear, x, y, eps=0.1, random=random, step_size=0.04)
    torch.testing.assert_close((short - x).abs(), torch.full_like(x, 0.04), rtol=0, atol=1e-6)
