"""APGD against closed forms, hand-fed losses, and the original's code."""

from __future__ import annotations

import copy
import warnings

import pytest
import torch
from torch import nn

from fairbench.attacks.apgd import apgd, apgd_targeted, sphere_start
from fairbench.attacks.apgd_steps import HalvingPace, SparsePace
from fairbench.attacks.dlr import dlr, dlr_targeted
from fairbench.attacks.norm_ball import l1_projection
from fairbench.attacks.targets import num_targets, rivals
from fairbench.sample_random import SampleRandom


class Float64Inside(nn.Module):
    """Computes in float64 between float32 pixels and float32 logits, where the original agrees with itself exactly."""

    def __init__(self, model):
        super().__init__()
        self.model = copy.deepcopy(model).double()

    def forward(self, x):
        return self.model(x.double()).float()


def original_start(norm):
    """The original's starting noise, drawn from the global generator in its order."""

    def start(x, eps, random):
        radius = eps.view(-1, 1, 1, 1)
        if norm == "L1":
            noise = x + torch.randn_like(x)
            # Each of its three stages draws a start that it does not use.
            [torch.randn(x.shape) for _ in range(3)]
            return noise + l1_projection(x, noise - x, eps)
        noise = 2 * torch.rand(x.shape) - 1 if norm == "Linf" else torch.randn(x.shape)
        flat = noise.flatten(1)
        size = flat.abs().amax(1) if norm == "Linf" else (flat**2).sum(1).sqrt()
        return x + radius * (noise / (size.view(-1, 1, 1, 1) + 1e-12))

    return start


def both(model, x, y, part, norm, eps, *, steps, targets=9, restarts=1):
    """Run the original and ours from the same noise."""
    from pyautoattack.autopgd_base import APGDAttack, APGDAttack_targeted

    shared = {"n_iter": steps, "norm": norm, "eps": eps, "seed": 3, "device": "cpu", "use_largereps": norm == "L1"}
    with warnings.catch_warnings(), torch.random.fork_rng():
        warnings.simplefilter("ignore")
        if part == "t":
            theirs = APGDAttack_targeted(model, n_target_classes=targets, **shared).perturb(x.clone(), y.clone())
        else:
            theirs = APGDAttack(model, loss=part, n_restarts=restarts, **shared).perturb(x.clone(), y.clone())
        torch.manual_seed(3)
        options = {"eps": eps, "norm": norm, "steps": steps, "start": original_start(norm)}
        random = SampleRandom(0, "unused", torch.arange(len(x)))
        if part == "t":
            ours = apgd_targeted(model, x, y, random=random, targets=targets, **options)
        else:
            ours = apgd(model, x, y, random=random, loss=part, restarts=restarts, **options)
    return theirs.detach(), ours


def conv_network(num_classes=6):
    with torch.random.fork_rng():
        torch.manual_seed(11)
        model = nn.Sequential(
            nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 8, 3, 1, 1), nn.ReLU(), nn.Flatten(),
            nn.Linear(8 * 16, num_classes),
        )  # fmt: skip
    return Float64Inside(model.eval().requires_grad_(False))


def eight_images(model):
    x = (1.4 * torch.rand(8, 3, 8, 8, generator=torch.Generator().manual_seed(1)) - 0.2).clamp(0, 1)
    with torch.no_grad():
        return x, model(x).argmax(1)


@pytest.mark.parametrize("part", ["ce", "dlr", "t"])
@pytest.mark.parametrize(("norm", "eps"), [("Linf", 0.01), ("L2", 0.15), ("L1", 0.8)])
def test_same_as_the_original(part, norm, eps):
    model = conv_network()
    x, y = eight_images(model)
    theirs, ours = both(model, x, y, part, norm, eps, steps=30, targets=4, restarts=2 if part == "ce" else 1)
    broken = model(theirs).argmax(1) != y
    assert 0 < broken.sum() < 8
    assert torch.equal(model(ours).argmax(1) != y, broken)
    if norm != "L1":
        assert torch.equal(ours, theirs)
    assert (ours - theirs).abs().max() <= 1e-5


@pytest.mark.parametrize("norm", ["Linf", "L2"])
@pytest.mark.parametrize("part", ["ce", "dlr", "t"])
def test_breaks_a_linear_network_exactly_where_it_can_be_broken(norm, part):
    """logits = W x + b, far from the pixel box. The distance to rival k is (z_y - z_k) / ||w_y - w_k|| in the dual norm
    (L1 for Linf, L2 for L2), and the smallest of them is the sample's. Towards each rival in turn APGD must break it
    2 % beyond, and cannot 2 % before; untargeted it is as sure with two classes, where there is one direction."""
    num_classes = 4 if part == "t" else 2
    generator = torch.Generator().manual_seed(7)
    weight = torch.randn(num_classes, 48, generator=generator)
    layer = nn.Linear(48, num_classes).requires_grad_(False)
    layer.weight.copy_(weight)
    layer.bias.copy_(0.3 * torch.randn(num_classes, generator=generator) - (weight / 2).sum(1))
    model = nn.Sequential(nn.Flatten(), layer)
    x = 0.5 + 0.02 * torch.randn(10, 3, 4, 4, generator=generator)
    logits = model(x)
    y = logits.argmax(1)
    steepness = (weight[y][:, None] - weight[None]).norm(1 if norm == "Linf" else 2, dim=2)
    distance = (logits.gather(1, y[:, None]) - logits) / steepness.clamp_min(1e-9)
    distance[torch.arange(10), y] = torch.inf
    eps = distance.amin(1)
    assert eps.max() < (0.1 if norm == "Linf" else 0.4), "the box is out of reach"
    random = SampleRandom(0, "linear", torch.arange(10))
    for factor, expected in ((0.98, False), (1.02, True)):
        options = {"eps": factor * eps, "random": random, "norm": norm, "steps": 40}
        x_adv = apgd_targeted(model, x, y, **options) if part == "t" else apgd(model, x, y, loss=part, **options)
        assert ((model(x_adv).argmax(1) != y) == expected).all()


def test_costs_one_forward_and_one_backward_per_step():
    """Per run: the start and all steps but the last cost both, the last step only a forward; one forward for the
    natural images. The original costs 1 + runs x (steps + 1) of both, and one forward more per target."""
    calls = {"plain": 0, "graph": 0, "backward": 0}
    model = conv_network()
    x, y = eight_images(model)

    class Counted(nn.Module):
        def forward(self, z):
            out = model(z)
            calls["graph" if out.requires_grad else "plain"] += 1
            if out.requires_grad:
                out.register_hook(lambda _: calls.__setitem__("backward", calls["backward"] + 1))
            return out

    apgd_targeted(Counted(), x, y, eps=1e-6, random=SampleRandom(0, "count", torch.arange(8)), steps=20, targets=3)
    assert calls == {"plain": 1 + 3, "graph": 3 * 20, "backward": 3 * 20}


def test_the_first_check_by_hand():
    """Window 4 of 20 steps (0.22 x 20 = 4.4), rho 0.25: halved where at most 1 of 4 losses rose. The losses 1, 2, 2, 2
    rise once from a start at 1, and twice counted from 0, as the original's first check does."""
    eps = torch.tensor([0.1])
    for first_loss, halved in ((torch.zeros(1), False), (torch.ones(1), True)):
        pace = HalvingPace.begin(eps, torch.ones(1), steps=20, rho=0.25, first_loss=first_loss)
        best, backs = torch.ones(1), []
        for loss in (1.0, 2.0, 2.0, 2.0):
            best = torch.maximum(best, torch.tensor([loss]))
            backs.append(pace.observe(torch.tensor([loss]), best, torch.empty(0), torch.empty(0)))
        assert backs[:3] == [None] * 3
        assert backs[3].item() is halved
        assert pace.step_size.item() == pytest.approx(0.1 if halved else 0.2)
        assert pace.window == 4 - 1, "the next window is 3 % of the steps shorter"


def test_a_step_that_was_kept_is_halved_where_the_best_loss_then_stands_still():
    pace = HalvingPace.begin(torch.tensor([0.1]), torch.zeros(1), steps=20, rho=0.75, first_loss=torch.zeros(1))
    # Four rises of four: kept. Then three of three below the best, still rising: more than rho, but nothing gained.
    for loss in (1.0, 2.0, 3.0, 4.0):
        back = pace.observe(torch.tensor([loss]), torch.tensor([loss]), torch.empty(0), torch.empty(0))
    assert not back.item()
    pace.loss = torch.tensor([0.0])
    for loss in (1.0, 2.0, 3.0):
        back = pace.observe(torch.tensor([loss]), torch.tensor([4.0]), torch.empty(0), torch.empty(0))
    assert back.item()
    assert pace.step_size.item() == pytest.approx(0.1)


def test_the_pace_of_l1_by_hand():
    """8 pixels, best point with 4 changed: density 4 / 8 / 1.5. 4 of 8 changed is below 95 % of all 8, so the step is
    set back to eps; then 4 of 4 is not, and it shrinks by 1.5."""
    x, best = torch.zeros(1, 1, 2, 4), torch.zeros(1, 1, 2, 4)
    best[0, 0, 0] = 0.5
    pace = SparsePace.begin(torch.tensor([3.0]), x, x, steps=25, sparse_start=False)
    assert pace.window == 1
    assert pace.density.item() == pytest.approx(0.2)
    assert pace.observe(torch.zeros(1), torch.zeros(1), best, x).item() is True
    assert pace.density.item() == pytest.approx(1 / 3)
    assert pace.step_size.item() == 3.0
    assert pace.observe(torch.zeros(1), torch.zeros(1), best, x).item() is False
    assert pace.step_size.item() == pytest.approx(2.0)


def test_dlr_by_hand():
    """z = (3, 1, 0, -2), y = 0: -(3 - 1) / (3 - 0) = -2/3; y = 1: -(1 - 3) / 3 = 2/3. Towards 2 from y = 0:
    -(3 - 0) / (3 - (0 - 2) / 2) = -3/4."""
    z = torch.tensor([[3.0, 1.0, 0.0, -2.0]])
    assert dlr(z, torch.tensor([0])).item() == pytest.approx(-2 / 3)
    assert dlr(z, torch.tensor([1])).item() == pytest.approx(2 / 3)
    assert dlr_targeted(z, torch.tensor([0]), torch.tensor([2])).item() == pytest.approx(-3 / 4)


def test_dlr_of_two_and_three_classes():
    """3 classes, z = (3, 1, 0): -(3 - 1) / 3; towards 2: -(3 - 0) / (3 - (1 + 0) / 2) = -6/5, which has a gradient.
    2 classes: the margin."""
    three, two = torch.tensor([[3.0, 1.0, 0.0]]), torch.tensor([[3.0, 1.0]])
    y = torch.tensor([0])
    assert dlr(three, y).item() == pytest.approx(-2 / 3)
    z = three.clone().requires_grad_()
    loss = dlr_targeted(z, y, torch.tensor([2]))
    assert loss.item() == pytest.approx(-6 / 5)
    assert torch.autograd.grad(loss.sum(), z)[0].abs().min() > 0
    assert dlr(two, y).item() == dlr_targeted(two, y, torch.tensor([1])).item() == pytest.approx(-2.0)
    for loss in (dlr(5 * three + 7, y), dlr_targeted(5 * three + 7, y, torch.tensor([2]))):
        assert loss.item() in (pytest.approx(-2 / 3), pytest.approx(-6 / 5)), "shift and scale change nothing"


def test_targets_are_the_strongest_rivals():
    logits = torch.tensor([[5.0, 1.0, 3.0, 2.0], [0.0, 1.0, 3.0, 2.0]])
    assert rivals(logits, torch.tensor([0, 3]), 3).tolist() == [[2, 3, 1], [2, 1, 0]]
    assert [num_targets(k) for k in (2, 3, 10, 100)] == [1, 2, 9, 9]


@pytest.mark.parametrize("norm", ["Linf", "L2", "L1"])
def test_the_start_reaches_the_sphere(norm):
    x = torch.full((5, 1, 4, 6), 0.5)
    eps = torch.tensor([0.0, 0.1, 0.2, 0.3, 0.4])
    random = SampleRandom(0, "start", torch.arange(5))
    delta = (sphere_start(norm)(x, eps, random) - x).flatten(1)
    size = {"Linf": delta.abs().amax(1), "L2": delta.norm(dim=1), "L1": delta.abs().sum(1)}[norm]
    assert torch.allclose(size, eps, atol=1e-5)


def test_draws_average_the_gradient():
    """A network whose gradient is 0.2 plus noise of standard deviation 1: one draw follows the noise, the mean of 400
    draws has the right sign nearly everywhere (0.2 is four standard deviations of the mean)."""

    class Noisy(nn.Module):
        def __init__(self):
            super().__init__()
            self.generator = torch.Generator().manual_seed(0)
            self.seen = []

        def forward(self, z):
            self.seen.append(z.detach().clone())
            slope = 0.2 + torch.randn(z.shape[1:], generator=self.generator)
            value = 100 + ((z - 0.5) * slope).flatten(1).sum(1)
            return torch.stack([torch.zeros_like(value), value], 1)

    x, y = torch.full((1, 1, 8, 8), 0.5), torch.tensor([1])
    share = {}
    for draws in (1, 400):
        model = Noisy()
        start = {"eps": 0.1, "random": SampleRandom(0, "eot", torch.arange(1)), "start": lambda x, eps, random: x}
        apgd(model, x, y, loss="dlr", steps=1, draws=draws, **start)
        assert len(model.seen) == 1 + draws + 1
        share[draws] = (model.seen[-1] < x).float().mean().item()
    assert share[400] > 0.98
    assert share[1] < 0.8


class Lean(nn.Module):
    """Two classes; the label 0 leads by 2 (sum of pixels - 1.601) + `extra`, and both logits are about 1."""

    def __init__(self, extra):
        super().__init__()
        self.extra = extra

    def forward(self, z):
        lead = z.flatten(1).sum(1) - 1.601
        return torch.stack([1 + lead + self.extra, 1 - lead], 1)


@pytest.mark.parametrize("drop_every", [1, 3, 10])
@pytest.mark.parametrize("attack", [apgd, apgd_targeted])
def test_a_copy_of_few_bits_is_doubted_where_the_lead_is_narrow(attack, drop_every):
    """Four pixels of 0.5 within 0.1: the least sum is 1.6, so that the network errs by .002 where its copy, which is
    .01 too sure, sees a lead of .008: less than 2 ** -6 of a logit of about 1, more than 2 ** -8."""
    network, attacked = Lean(0.0), Lean(0.01)
    x, y, asked = torch.full((3, 1, 2, 2), 0.5), torch.zeros(3, dtype=torch.int64), []

    def success(x_adv, rows):
        asked.append(len(rows))
        return network(x_adv).argmax(1) != y[rows]

    def broken(doubt, judge=success):
        x_adv = attack(
            attacked,
            x,
            y,
            eps=0.1,
            random=SampleRandom(0, "a", torch.arange(3)),
            steps=10,
            success=judge,
            doubt=doubt,
            drop_every=drop_every,
        )
        return (network(x_adv).argmax(1) != y).tolist()

    assert broken(0.0) == broken(2**-8) == [False] * 3
    assert not asked or sum(asked) == 0
    assert broken(2**-6) == [True] * 3
    assert sum(asked) >= 3
    # Without a judge nobody could confirm: the attacked network decides alone.
    assert broken(2**-6, judge=None) == [False] * 3


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
@pytest.mark.parametrize("part", ["ce", "dlr", "t"])
def test_same_as_the_original_on_real_checkpoints(real_checkpoint, name, norm, eps, part):
    network, x, y = real_checkpoint(name, 100)
    model = Float64Inside(network)
    theirs, ours = both(model, x, y, part, norm, eps, steps=100)
    with torch.no_grad():
        assert torch.equal(model(ours).argmax(1) != y, model(theirs).argmax(1) != y)
    far = (ours - theirs).flatten(1).abs().amax(1) > 1e-5
    assert far.float().mean() <= 0.01
