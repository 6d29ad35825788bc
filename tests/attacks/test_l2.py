from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fairbench.attacks.l2 import l2_step, pgd_l2, project, uniform_start
from fairbench.losses import cross_entropy, margin
from fairbench.sample_random import SampleRandom


def test_margin_drops_by_eps_times_l2_norm(linear, inner_images):
    """The best attack on w.x in an L2 ball goes eps along -w / |w|_2: the margin falls by eps |w|_2."""
    x, y = inner_images
    x_adv = pgd_l2(linear, x, y, eps=0.2, random=SampleRandom(0, "a", torch.arange(8)), steps=60)
    drop = margin(linear(x), y) - margin(linear(x_adv), y)
    torch.testing.assert_close(drop, torch.full((8,), 0.2 * float(linear.weight.norm())), rtol=1e-3, atol=1e-4)


def test_a_step_has_the_length_of_the_step_size(linear, inner_images):
    x, y = inner_images
    size = torch.linspace(0.01, 0.08, 8)
    x_next, _ = l2_step(linear, x, x, value=lambda z, _: cross_entropy(z, y), eps=1.0, step_size=size)
    torch.testing.assert_close((x_next - x).flatten(1).norm(dim=1), size, rtol=1e-5, atol=1e-7)


def test_a_tiny_gradient_still_steps(linear, inner_images):
    """Squares of a gradient of 1e-30 underflow to 0 in float32; the direction must not be lost."""
    x, y = inner_images
    value = lambda z, _: 1e-30 * cross_entropy(z, y)  # noqa: E731
    x_next, _ = l2_step(linear, x, x, value=value, eps=1.0, step_size=0.05)
    torch.testing.assert_close((x_next - x).flatten(1).norm(dim=1), torch.full((8,), 0.05), rtol=1e-4, atol=1e-6)


def test_a_zero_gradient_stays(linear, inner_images):
    x, y = inner_images
    x_next, _ = l2_step(linear, x, x, value=lambda z, _: 0 * cross_entropy(z, y), eps=1.0, step_size=0.05)
    assert torch.equal(x_next, x)


def test_uniform_start_fills_the_ball():
    """In D dimensions (length / eps)^D is uniform: its mean is 1/2, and directions average to 0."""
    random = SampleRandom(0, "a", torch.arange(4000))
    x = 0.5 * torch.ones(4000, 1, 2, 2)
    delta = (uniform_start(x, 0.2, random) - x).flatten(1)
    length = delta.norm(dim=1) / 0.2
    assert length.max() <= 1 + 1e-5
    assert abs(float((length**4).mean()) - 0.5) < 0.02
    assert float(delta.mean(0).abs().max()) < 0.005


@given(st.lists(st.floats(-2, 3, width=32), min_size=4, max_size=4), st.floats(0, 2))
@settings(max_examples=200, deadline=None)
def test_projection_lands_in_the_ball_and_the_box(point, eps):
    x = torch.tensor([0.0, 1.0, 0.5, 0.2]).view(1, 1, 2, 2)
    found = project(torch.tensor(point).view(1, 1, 2, 2), x, eps)
    assert found.min() >= 0
    assert found.max() <= 1
    assert float((found.double() - x.double()).norm()) <= eps * (1 + 1e-6) + 1e-7
    if eps == 0:
        assert torch.equal(found, x)


def test_a_point_inside_is_left_alone():
    x = 0.5 * torch.ones(2, 1, 2, 2)
    inside = x + 0.01
    assert torch.equal(project(inside, x, torch.tensor([0.1, 0.5])), inside)
