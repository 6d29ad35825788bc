from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fairbench.attacks.linf import linf_step, no_start, normal_start, per_sample, project, uniform_start
from fairbench.attacks.pgd import pgd
from fairbench.losses import cross_entropy, margin
from fairbench.sample_random import SampleRandom


def test_margin_drops_by_eps_times_l1_norm(linear, inner_images):
    """The best attack on w.x in a Linf ball moves every pixel by eps against sign(w_i): it falls by eps |w|_1."""
    x, y = inner_images
    x_adv = pgd(linear, x, y, eps=0.1, random=SampleRandom(0, "a", torch.arange(8)), steps=20)
    drop = margin(linear(x), y) - margin(linear(x_adv), y)
    torch.testing.assert_close(drop, torch.full((8,), 0.1 * float(linear.weight.abs().sum())), rtol=1e-5, atol=1e-5)


def test_one_step_moves_by_step_size_and_shows_the_logits_before(linear, inner_images):
    x, y = inner_images
    x_next, logits = linf_step(
        linear, x, x, value=lambda z, _: cross_entropy(z, y), eps=0.1, step_size=0.03
    )  # fmt: skip
    assert torch.equal(logits, linear(x).detach())
    assert not x_next.requires_grad
    torch.testing.assert_close((x_next - x).abs(), torch.full_like(x, 0.03), rtol=0, atol=1e-6)


def test_per_sample_radius_equals_a_loop_over_scalars(network, images, random):
    x, y = images
    eps = torch.tensor([0.0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3])
    size = eps / 3
    whole = pgd(network, x, y, eps=eps, step_size=size, random=random, steps=5)
    # A batch of 7 and one of 1 may round differently, so the loop keeps the batch and picks its row.
    for row in range(7):
        single = pgd(network, x, y, eps=float(eps[row]), step_size=float(size[row]), random=random, steps=5)
        torch.testing.assert_close(whole[row], single[row], rtol=0, atol=1e-6)
    default = pgd(network, x, y, eps=eps, random=random, steps=5)
    assert torch.equal(default, pgd(network, x, y, eps=eps, step_size=eps / 4, random=random, steps=5))


@given(
    st.lists(st.floats(-0.5, 1.5, width=32), min_size=4, max_size=4),
    st.lists(st.floats(0, 1, width=32), min_size=4, max_size=4),
    st.floats(0, 1),
)
@settings(max_examples=200, deadline=None)
def test_projection_is_the_nearest_point_and_idempotent(point, centre, eps):
    """The feasible set is a box, so the nearest point clips each coordinate to [max(x - eps, 0), min(x + eps, 1)]."""
    x_adv, x = torch.tensor(point).view(1, 1, 2, 2), torch.tensor(centre).view(1, 1, 2, 2)
    found = project(x_adv, x, eps)
    low, high = (x.double() - eps).clamp(min=0), (x.double() + eps).clamp(max=1)
    torch.testing.assert_close(found.double(), x_adv.double().clamp(low, high), rtol=0, atol=1e-6)
    assert torch.equal(project(found, x, eps), found)


def test_starts(images, random):
    x, _ = images
    start = uniform_start(x, 0.3, random)
    assert start.min() >= 0
    assert start.max() <= 1
    assert (start - x).abs().max() <= 0.3 + 1e-6
    inside = 0.5 * torch.ones(7, 1, 40, 40)
    moved = (uniform_start(inside, 0.2, random) - 0.5) / 0.2
    assert abs(float(moved.mean())) < 0.03
    assert abs(float(moved.std()) - 3**-0.5) < 0.01
    noise = normal_start(inside, 0.2, random) - 0.5
    assert abs(float(noise.std()) - 0.001) < 5e-5
    zeros = torch.zeros(7, 1, 6, 6)
    assert normal_start(zeros, 0.1, random).min() < 0, "the TRADES start is not clamped"
    assert torch.equal(no_start(x, 0.3, random), x)


def test_per_sample_keeps_numbers_and_shapes_tensors():
    x = torch.zeros(3, 1, 2, 2)
    assert per_sample(0.5, x) == 0.5
    assert per_sample(torch.tensor([1.0, 2.0, 3.0]), x).shape == (3, 1, 1, 1)
