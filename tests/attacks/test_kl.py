from __future__ import annotations

import torch

from fairbench.attacks.kl import kl
from fairbench.attacks.linf import linf_step, no_start, normal_start
from fairbench.losses import kl_divergence


def test_first_step_is_the_sign_of_the_kl_gradient_at_the_noisy_start(network, images, random):
    x, y = images
    natural = network(x).detach()
    expected, _ = linf_step(
        network, normal_start(x, 0.1, random), x, value=lambda z, _: kl_divergence(natural, z), eps=0.1, step_size=0.02
    )  # fmt: skip
    assert torch.equal(kl(network, x, y, eps=0.1, random=random, steps=1, step_size=0.02), expected)


def test_it_is_the_divergence_from_the_natural_prediction_not_to_it(network, images, random):
    """KL is not symmetric: over several steps both directions part."""
    x, y = images
    for p in network.parameters():
        p.data.mul_(2)
    natural = network(x).detach()
    ends = [normal_start(x, 0.3, random)] * 2
    for _ in range(8):
        values = (lambda z, _: kl_divergence(natural, z), lambda z, _: kl_divergence(z, natural))
        ends = [
            linf_step(network, end, x, value=value, eps=0.3, step_size=0.075)[0]
            for end, value in zip(ends, values, strict=True)
        ]
    assert not torch.equal(*ends)
    assert torch.equal(kl(network, x, y, eps=0.3, random=random, steps=8), ends[0])


def test_labels_do_not_matter_and_the_divergence_grows(network, images, random):
    x, y = images
    x_adv = kl(network, x, y, eps=0.1, random=random, steps=10)
    assert torch.equal(x_adv, kl(network, x, (y + 1) % 5, eps=0.1, random=random, steps=10))
    natural = network(x).detach()
    assert (kl_divergence(natural, network(x_adv)) > 10 * kl_divergence(natural, network(x + 1e-3))).all()


def test_without_a_start_the_gradient_is_zero(network, images, random):
    """KL is smallest, namely 0, at x itself: its gradient vanishes there up to rounding."""
    x, _ = images
    natural = network.double()(x.double()).detach()
    x_noise = x.double().requires_grad_()
    (gradient,) = torch.autograd.grad(kl_divergence(natural, network(x_noise)).sum(), x_noise)
    assert float(gradient.abs().max()) < 1e-12
    assert no_start(x, 0.1, random) is x
