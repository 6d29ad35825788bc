"""Every attack that a string can name keeps the same promises."""

from __future__ import annotations

import copy

import pytest
import torch

from fairbench.attacks import ATTACKS, PRESETS, attack_function, parse_attack
from fairbench.losses import cross_entropy
from fairbench.sample_random import SampleRandom
from fairbench.threat import Threat

STRINGS = [
    *(family.example for family in ATTACKS.values() if family.attack is not None),
    "pgd5(start=none)", "pgd5(start=normal,restarts=3)", "fgsm(start=normal)", "cw5(kappa=1,restarts=2)",
    "tpgd5(T=0.01,where=multiply)", "pgd5(early_stop=yes)", "kl5(early_stop=yes,restarts=2)", "pgd5(step_size=1/30)",
]  # fmt: skip
CASES = [(text, norm, eps) for text in STRINGS for norm, eps in (("Linf", "0.1"), ("L2", "0.7"))]
CASES += [(text, "Linf", preset.eps) for text, preset in PRESETS.items()]


def length(delta: torch.Tensor, norm: str) -> torch.Tensor:
    flat = delta.double().flatten(1)
    return flat.abs().amax(1) if norm == "Linf" else flat.norm(dim=1)


@pytest.mark.parametrize(("text", "norm", "eps"), CASES)
def test_contract(text, norm, eps, network, images):
    x, y = images
    threat = Threat.parse(norm, eps)
    attack = attack_function(parse_attack(text), threat)
    index = torch.tensor([3, 10, 11, 40, 41, 42, 99])
    random = SampleRandom(0, text, index)
    before, state, generator = x.clone(), copy.deepcopy(network.state_dict()), torch.get_rng_state()

    x_adv = attack(network, x, y, eps=threat.eps, random=random)

    assert x_adv.shape == x.shape
    assert x_adv.dtype == torch.float32
    assert not x_adv.requires_grad
    assert x_adv.min() >= 0
    assert x_adv.max() <= 1
    assert (length(x_adv - x, norm) <= threat.eps * (1 + 1e-5) + 1e-6).all()
    assert torch.equal(x, before), "the input was changed"
    assert torch.equal(torch.get_rng_state(), generator), "the global generator was used"
    assert all(torch.equal(value, state[name]) for name, value in network.state_dict().items())
    assert not any(module.training for module in network.modules())
    assert all(p.grad is None for p in network.parameters())
    # It attacks: what it leaves is lower than what it found. (KL leads away from the prediction, right or wrong.)
    assert text.startswith("kl") or cross_entropy(network(x_adv), y).mean() > cross_entropy(network(x), y).mean()
    # The same call gives the same example, eps = 0 the image itself.
    assert torch.equal(attack(network, x, y, eps=threat.eps, random=random), x_adv)
    assert torch.equal(attack(network, x, y, eps=0.0, random=random), x)
    # A sample's example does not depend on its batch, in float64, where rounding hardly shows.
    model = copy.deepcopy(network).double()
    whole = attack(model, x.double(), y, eps=threat.eps, random=random)
    order = torch.tensor([4, 0, 6, 2])
    some = attack(model, x.double()[order], y[order], eps=threat.eps, random=random.at(order))
    torch.testing.assert_close(some, whole[order], rtol=0, atol=1e-7)
    # A radius per sample is that sample's radius.
    radius = torch.linspace(0, threat.eps, 7, dtype=torch.float64)
    scaled = attack(model, x.double(), y, eps=radius, random=random)
    assert (length(scaled - x.double(), norm) <= radius * (1 + 1e-5) + 1e-6).all()
    torch.testing.assert_close(scaled[6], whole[6], rtol=0, atol=1e-7)


def test_the_cascade_is_no_attack():
    with pytest.raises(ValueError, match="cascade"):
        attack_function(parse_attack("aa"), Threat.parse("Linf", "0.1"))
