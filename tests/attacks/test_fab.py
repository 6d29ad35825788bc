"""FAB against closed forms and the original's code."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from fairbench.attacks.fab import fab, fab_targeted
from fairbench.attacks.fab_forecast import Forecast
from fairbench.attacks.fab_linear import LinearNetwork
from fairbench.sample_random import SampleRandom


class Float64Inside(nn.Module):
    """Computes in float64 between float32 pixels and float32 logits, where the original agrees with itself exactly."""

    def __init__(self, model):
        super().__init__()
        self.model = copy.deepcopy(model).double()

    def forward(self, x):
        return self.model(x.double()).float()


def original_start(norm):
    """The original's noise of a restart, drawn from the global generator."""

    def start(x, eps, random):
        radius = eps.view(-1, 1, 1, 1)
        noise = 2 * torch.rand(x.shape) - 1 if norm == "Linf" else torch.randn(x.shape)
        flat = noise.flatten(1)
        size = {"Linf": flat.abs().amax(1), "L2": (flat**2).sum(1).sqrt(), "L1": flat.abs().sum(1)}[norm]
        return x + radius * noise / size.view(-1, 1, 1, 1) * 0.5

    return start


def theirs_and_ours(model, x, y, norm, eps, *, targeted, steps, restarts, targets=9, fast=False):
    from pyautoattack.fab_pt import FABAttack_PT

    with torch.random.fork_rng():
        original = FABAttack_PT(
            model, norm=norm, eps=eps, n_restarts=restarts, n_iter=steps, targeted=targeted, seed=3,
            n_target_classes=targets, device="cpu",
        )  # fmt: skip
        theirs = original.perturb(x.clone(), y.clone()).detach()
        torch.manual_seed(3)
        options = {
            "eps": eps, "norm": norm, "steps": steps, "restarts": restarts, "start": original_start(norm),
            "random": SampleRandom(0, "unused", torch.arange(len(x))),
        }  # fmt: skip
        if not fast:
            options |= {"projection": "sort", "reuse": False}
        ours = fab_targeted(model, x, y, targets=targets, **options) if targeted else fab(model, x, y, **options)
    return theirs, ours


def conv_network(num_classes=6):
    with torch.random.fork_rng():
        torch.manual_seed(11)
        model = nn.Sequential(
            nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 8, 3, 1, 1), nn.ReLU(), nn.Flatten(),
            nn.Linear(8 * 16, num_classes),
        )  # fmt: skip
    return Float64Inside(model.eval().requires_grad_(False))


def images(model, count=8):
    x = (1.4 * torch.rand(count, 3, 8, 8, generator=torch.Generator().manual_seed(1)) - 0.2).clamp(0, 1)
    with torch.no_grad():
        return x, model(x).argmax(1)


@pytest.mark.parametrize("targeted", [False, True])
@pytest.mark.parametrize(("norm", "eps"), [("Linf", 0.014), ("L2", 0.12), ("L1", 0.6)])
def test_same_as_the_original(norm, eps, targeted):
    model = conv_network()
    x, y = images(model)
    theirs, ours = theirs_and_ours(model, x, y, norm, eps, targeted=targeted, steps=20, restarts=2, targets=4)
    broken = model(theirs).argmax(1) != y
    assert 0 < broken.sum() < 8
    assert torch.equal(ours, theirs)


@pytest.mark.parametrize("targeted", [False, True])
@pytest.mark.parametrize(("norm", "eps"), [("Linf", 0.014), ("L2", 0.12), ("L1", 0.6)])
def test_the_fast_paths_keep_the_verdicts(norm, eps, targeted):
    model = conv_network()
    x, y = images(model, 24)
    theirs, ours = theirs_and_ours(
        model, x, y, norm, eps, targeted=targeted, steps=20, restarts=1, targets=3, fast=True
    )
    assert torch.equal(model(ours).argmax(1) != y, model(theirs).argmax(1) != y)
    # The projection rounds otherwise, nothing else.
    assert ((ours - theirs).flatten(1).abs().amax(1) < 1e-4).float().mean() > 0.9


@pytest.mark.parametrize("norm", ["Linf", "L2"])
@pytest.mark.parametrize("targeted", [False, True])
def test_finds_the_shortest_way_out_of_a_linear_network(norm, targeted):
    """logits = W x + b, far from the pixel box: the distance to rival k is (z_y - z_k) / ||w_y - w_k|| in the dual
    norm, and the nearest rival decides. Without `success` FAB goes on to minimise: it ends within 1.5 % of that
    distance (its steps overshoot by 5 %, and the pull back towards x by 0.9 reduces that)."""
    generator = torch.Generator().manual_seed(7)
    weight = torch.randn(4, 48, generator=generator)
    layer = nn.Linear(48, 4).requires_grad_(False)
    layer.weight.copy_(weight)
    layer.bias.copy_(0.3 * torch.randn(4, generator=generator) - (weight / 2).sum(1))
    model = nn.Sequential(nn.Flatten(), layer)
    x = 0.5 + 0.02 * torch.randn(10, 3, 4, 4, generator=generator)
    logits = model(x)
    y = logits.argmax(1)
    steepness = (weight[y][:, None] - weight[None]).norm(1 if norm == "Linf" else 2, dim=2)
    distance = (logits.gather(1, y[:, None]) - logits) / steepness.clamp_min(1e-9)
    distance[torch.arange(10), y] = torch.inf
    nearest = distance.amin(1)
    random = SampleRandom(0, "linear", torch.arange(10))
    attack = fab_targeted if targeted else fab
    x_adv = attack(model, x, y, eps=2 * nearest, random=random, norm=norm, steps=60)
    assert (model(x_adv).argmax(1) != y).all()
    delta = (x_adv - x).flatten(1)
    size = delta.abs().amax(1) if norm == "Linf" else delta.norm(dim=1)
    assert (size >= nearest * (1 - 1e-4)).all()
    # Towards its rivals in turn it stops at the first that lies within eps, which need not be the nearest.
    assert (size <= (2 if targeted else 1.015) * nearest).all()
    before = attack(model, x, y, eps=0.98 * nearest, random=random, norm=norm, steps=60)
    assert torch.equal(before, x)


def counting(model, calls):
    class Counted(nn.Module):
        def forward(self, z):
            out = model(z)
            calls["graph" if out.requires_grad else "plain"] += len(z)
            if out.requires_grad:
                out.register_hook(lambda _: calls.__setitem__("backward", calls["backward"] + len(z)))
            return out

    return Counted()


def test_costs_one_look_and_one_gradient_per_step():
    """Without reuse: the natural images, a look per step, a gradient per step (the first at x, none after the last).
    The original costs three forwards more per target."""
    model = conv_network()
    x, y = images(model)
    calls = {"plain": 0, "graph": 0, "backward": 0}
    random = SampleRandom(0, "count", torch.arange(8))
    fab_targeted(counting(model, calls), x, y, eps=1e-6, random=random, steps=15, targets=2, reuse=False)
    assert calls == {"plain": 8 * (1 + 2 * 15), "graph": 8 * 2 * 15, "backward": 8 * 2 * 15}


@pytest.mark.parametrize("target", [None, 3])
def test_a_forward_serves_for_the_look_and_for_the_gradient(target):
    """Samples 0 to 4 are foretold to stay. Sample 0 is not at all where the network is right, so that its graph is
    wasted; 1 to 4 need no forward of their own; 5 to 7 do. Then samples 2 and 6 leave."""
    model = conv_network()
    x, y = images(model)
    y[0] = (y[0] + 1) % 6
    calls = {"plain": 0, "graph": 0, "backward": 0}
    targets = None if target is None else torch.full((8,), target)
    network = LinearNetwork(counting(model, calls), y, targets, "Linf")
    lead, slope = LinearNetwork(model, y, targets, "Linf").at(x)

    crossed = network.look(x, torch.arange(8) < 5)
    assert crossed.tolist() == [True] + [False] * 7
    backwards = 6 if target is None else 1
    assert calls == {"plain": 3, "graph": 5, "backward": 5 * backwards}
    left = torch.tensor([True, True, False, True, True, True, False, True])
    network.keep(left)
    again, slope_again = network.after_look(x[left])
    assert calls == {"plain": 3, "graph": 5 + 3, "backward": (5 + 3) * backwards}
    assert torch.allclose(again, lead[left], atol=1e-6)
    assert torch.allclose(slope_again, slope[left], atol=1e-6)


def test_forecast_by_hand():
    """8 samples that always stay and 2 that always cross. After five sightings of its pattern "stayed, stayed" (0) a
    steady sample has stayed in 6 of 7 (1 of 2 imagined): above 0.7. It takes 2 more for 0.7 < 3 of 4."""
    forecast = Forecast.begin(torch.arange(10))
    crossing = torch.arange(10) >= 8
    assert forecast.stays() is None, "one of two imagined sightings is not enough"
    forecast.observe(crossing)
    assert forecast.stays() is None, "2 of 3 is not above 0.7"
    forecast.observe(crossing)
    stays = forecast.stays()
    assert stays.tolist() == [True] * 8 + [False] * 2
    forecast.keep(torch.arange(10) > 0)
    assert forecast.stays() is None, "7 are too few for a forward of their own"


def test_no_gradient_is_no_example():
    """The original divides 0 by 0 here."""

    class Flat(nn.Module):
        def forward(self, z):
            return torch.stack([1 + 0 * z.sum((1, 2, 3)), 0 * z.sum((1, 2, 3))], 1)

    x = torch.rand(3, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    random = SampleRandom(0, "flat", torch.arange(3))
    for norm in ("Linf", "L2", "L1"):
        for projection in ("newton", "sort"):
            options = {"eps": 0.3, "random": random, "norm": norm, "steps": 5, "projection": projection}
            assert torch.equal(fab_targeted(Flat(), x, torch.zeros(3, dtype=torch.long), **options), x)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "norm", "eps"),
    [
        ("mnist_pgd", "Linf", 0.3), ("mnist_fgsm", "Linf", 0.3), ("mnist_wk17a", "Linf", 0.1),
        ("mnist_fgsm", "L2", 1.5), ("mnist_pgd", "L2", 1.5), ("cifar10_cnn", "Linf", 2 / 255),
        ("cifar10_resnet2b", "Linf", 2 / 255), ("cifar10_cnn", "L2", 0.25), ("cifar10_resnet2b", "L2", 0.25),
        ("cifar10_resnet2b", "L1", 6.0),
    ],
)  # fmt: skip
@pytest.mark.parametrize("targeted", [False, True])
@pytest.mark.parametrize("fast", [False, True])
def test_same_as_the_original_on_real_checkpoints(real_checkpoint, name, norm, eps, targeted, fast):
    """With the fast paths on, x_adv may differ: each of the 100 steps rounds otherwise. The verdicts may in 2 %."""
    network, x, y = real_checkpoint(name, 100 if targeted else 50)
    model = Float64Inside(network)
    theirs, ours = theirs_and_ours(model, x, y, norm, eps, targeted=targeted, steps=100, restarts=1, fast=fast)
    with torch.no_grad():
        flips = (model(ours).argmax(1) != y) ^ (model(theirs).argmax(1) != y)
    far = (ours - theirs).flatten(1).abs().amax(1) > 1e-5
    assert flips.float().mean() <= (0.02 if fast else 0)
    assert fast or far.float().mean() <= 0.01
