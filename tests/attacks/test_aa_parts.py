"""Every part of AutoAttack, in every norm, keeps the same promises."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from fairbench.attacks.apgd import apgd, apgd_targeted
from fairbench.attacks.attack_memory import FileMemory
from fairbench.attacks.fab import fab, fab_targeted
from fairbench.attacks.square import square
from fairbench.errors import Refused
from fairbench.sample_random import SampleRandom

EPS = {"Linf": 0.03, "L2": 0.15, "L1": 0.6}
PARTS = {
    "apgd-ce": (apgd, {"loss": "ce", "steps": 12}),
    "apgd-dlr": (apgd, {"loss": "dlr", "steps": 12, "restarts": 2}),
    "apgd-t": (apgd_targeted, {"steps": 10}),
    "fab": (fab, {"steps": 8, "restarts": 2}),
    "fab-t": (fab_targeted, {"steps": 8}),
    "square": (square, {"queries": 150}),
}
CASES = [(name, norm) for name in PARTS for norm in EPS]


def length(delta, norm):
    flat = delta.double().flatten(1)
    return {"Linf": flat.abs().amax(1), "L2": flat.norm(dim=1), "L1": flat.abs().sum(1)}[norm]


def run(name, model, x, y, norm, random, **more):
    attack, options = PARTS[name]
    return attack(model, x, y, norm=norm, random=random, **{"eps": EPS[norm], **options, **more})


def deciding(model, x, y):
    """The `success` of a network that judges itself."""

    def success(x_adv, rows):
        with torch.no_grad():
            return model(x_adv).argmax(1) != y[rows]

    return success


class Weak(nn.Module):
    """Seven classes, no certainty: every part breaks some samples and leaves others at the radii above."""

    def __init__(self, num_classes=7, shape=(2, 6, 5)):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(5)
            self.conv = nn.Conv2d(shape[0], 5, 3, padding=1)
            self.linear = nn.Linear(5 * shape[1] * shape[2], num_classes)
        self.requires_grad_(False).eval()

    def forward(self, x):
        return self.linear(self.conv(x).relu().flatten(1))


@pytest.fixture(scope="module")
def weak():
    model = Weak()
    x = (1.4 * torch.rand(24, 2, 6, 5, generator=torch.Generator().manual_seed(4)) - 0.2).clamp(0, 1)
    with torch.no_grad():
        y = model(x).argmax(1)
    y[3] = (y[3] + 1) % 7
    return model, x, y, SampleRandom(0, "aa", torch.arange(24) * 3 + 1)


class Float64Inside(nn.Module):
    """Computes in float64 between float32 pixels and float32 logits: rounding hardly reaches an argmax."""

    def __init__(self, model):
        super().__init__()
        self.model = copy.deepcopy(model).double()

    def forward(self, x):
        return self.model(x.double()).float()


@pytest.mark.parametrize(("name", "norm"), CASES)
def test_contract(name, norm, weak):
    model, x, y, random = weak
    model = copy.deepcopy(model).requires_grad_(True)
    before, state, generator = x.clone(), copy.deepcopy(model.state_dict()), torch.get_rng_state()

    x_adv = run(name, model, x, y, norm, random)

    assert x_adv.shape == x.shape
    assert x_adv.dtype == torch.float32
    assert not x_adv.requires_grad
    assert x_adv.min() >= 0
    assert x_adv.max() <= 1
    assert (length(x_adv - x, norm) <= EPS[norm] * (1 + 1e-5) + 1e-6).all()
    assert torch.equal(x, before), "the input was changed"
    assert torch.equal(torch.get_rng_state(), generator), "the global generator was used"
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
    assert not any(module.training for module in model.modules())
    assert all(p.grad is None for p in model.parameters())
    with torch.no_grad():
        broken = model(x_adv).argmax(1) != y
    moved = (x_adv != x).flatten(1).any(1)
    assert broken.sum() >= 3, "it breaks some"
    assert (~broken).sum() >= 3, "and not all: the radius is a hard one"
    assert torch.equal(moved | (torch.arange(24) == 3), broken), "x itself where nothing was found or needed"
    assert not moved[3]
    # The same call gives the same example; eps = 0 changes nothing.
    assert torch.equal(run(name, model, x, y, norm, random), x_adv)
    assert torch.equal(run(name, model, x, y, norm, random, eps=0.0), x)


@pytest.mark.parametrize(("name", "norm"), CASES)
def test_independent_of_the_batch(name, norm, weak):
    model, x, y, random = weak
    model = Float64Inside(model)
    success = deciding(model, x, y)
    whole = run(name, model, x, y, norm, random, success=success)
    order = torch.tensor([20, 4, 0, 11, 9])
    some = run(name, model, x[order], y[order], norm, random.at(order), success=deciding(model, x[order], y[order]))
    assert torch.allclose(some, whole[order], atol=1e-5)
    alone = run(name, model, x[11:12], y[11:12], norm, random.at(torch.tensor([11])))
    plain = run(name, model, x, y, norm, random)
    assert torch.allclose(alone, plain[11:12], atol=1e-5)


@pytest.mark.parametrize(("name", "norm"), CASES)
def test_one_radius_per_sample(name, norm, weak):
    model, x, y, random = weak
    model = Float64Inside(model)
    eps = torch.where(torch.arange(24) % 2 == 0, EPS[norm], EPS[norm] / 2)
    mixed = run(name, model, x, y, norm, random, eps=eps)
    for parity, radius in ((0, EPS[norm]), (1, EPS[norm] / 2)):
        rows = torch.arange(parity, 24, 2)
        one = run(name, model, x[rows], y[rows], norm, random.at(rows), eps=radius)
        assert torch.allclose(mixed[rows], one, atol=1e-5)


@pytest.mark.parametrize(("name", "norm"), CASES)
def test_dropping_finished_samples_keeps_the_verdicts(name, norm, weak):
    model, x, y, random = weak
    model = Float64Inside(model)
    plain = run(name, model, x, y, norm, random)
    verdicts = model(plain).argmax(1) != y
    for every in (1, 7):
        x_adv = run(name, model, x, y, norm, random, success=deciding(model, x, y), drop_every=every)
        assert (length(x_adv - x, norm) <= EPS[norm] * (1 + 1e-5) + 1e-6).all()
        assert torch.equal(model(x_adv).argmax(1) != y, verdicts)


@pytest.mark.parametrize(("name", "norm"), CASES)
def test_a_sample_leaves_only_when_its_example_is_confirmed(name, norm, weak):
    """The judge never believes sample 0's examples and those of odd samples only from the fifth on."""
    model, x, y, random = weak
    seen, confirmed = torch.zeros(24, dtype=torch.long), torch.zeros(24, dtype=torch.bool)

    def success(x_adv, rows):
        assert x_adv.shape[0] == len(rows)
        assert torch.equal(model(x_adv).argmax(1) != y[rows], torch.ones_like(rows, dtype=torch.bool))
        assert (length(x_adv - x[rows], norm) <= EPS[norm] * (1 + 1e-5) + 1e-6).all()
        seen[rows] += 1
        believed = (rows != 0) & ((rows % 2 == 0) | (seen[rows] >= 5))
        confirmed[rows] |= believed
        return believed

    x_adv = run(name, model, x, y, norm, random, success=success, drop_every=1)
    assert confirmed[0::2].any()
    assert confirmed[1::2].any()
    assert (seen[0::2][1:] <= 1).all(), "a confirmed sample is not attacked any further"
    assert (seen[1::2][confirmed[1::2]] == 5).all()
    # An example that was not believed is returned all the same.
    assert torch.equal((x_adv != x).flatten(1).any(1), seen > 0)


class Interrupting:
    """A memory that takes one state, and stops the attack there."""

    class Stop(Exception):
        pass

    def __init__(self, at, saved=None):
        self.at, self.saved, self.offers = at, saved, 0

    def recall(self):
        return self.saved

    def offer(self, state, done):
        self.offers += 1
        if self.offers == self.at:
            self.saved = state()
            raise self.Stop


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize(("name", "norm"), CASES)
def test_continues_exactly_after_an_interruption(name, norm, layout, weak):
    model, x, y, random = weak
    x = x.contiguous(memory_format=layout)
    success = deciding(model, x, y)
    whole = Interrupting(at=None)
    undisturbed = run(name, model, x, y, norm, random, success=success, memory=whole)
    assert whole.offers > 8
    saved, stops = None, 0
    # Interrupted again and again: after 1, 7, 14, ... more iterations.
    while True:
        memory = Interrupting(at=1 + 6 * stops, saved=saved)
        try:
            x_adv = run(name, model, x, y, norm, random, success=success, memory=memory)
            break
        except Interrupting.Stop:
            saved, stops = memory.saved, stops + 1
    assert stops >= 2
    assert torch.equal(x_adv, undisturbed)


def test_the_state_goes_through_a_file(weak, tmp_path):
    model, x, y, random = weak
    undisturbed = run("apgd-t", model, x, y, "L2", random)

    class Cut(FileMemory):
        count = 0

        def offer(self, state, done):
            super().offer(state, done)
            self.count += 1
            if self.count == 23:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run("apgd-t", model, x, y, "L2", random, memory=Cut(tmp_path / "state", seconds=0))
    memory = FileMemory(tmp_path / "state", seconds=0)
    assert memory.recall() is not None
    assert torch.equal(run("apgd-t", model, x, y, "L2", random, memory=memory), undisturbed)
    memory.forget()
    assert not (tmp_path / "state").exists()
    assert memory.recall() is None


def test_a_memory_writes_only_now_and_then(tmp_path):
    memory = FileMemory(tmp_path / "state", seconds=3600)
    for _ in range(100):
        memory.offer(lambda: pytest.fail("asked too early"), 0.5)
    assert not (tmp_path / "state").exists()


@pytest.mark.parametrize("num_classes", [2, 3, 4])
@pytest.mark.parametrize("name", PARTS)
def test_few_classes(name, num_classes):
    model = Weak(num_classes, (1, 5, 7))
    x = torch.rand(12, 1, 5, 7, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        y = model(x).argmax(1)
    random = SampleRandom(0, "few", torch.arange(12))
    for norm, eps in EPS.items():
        x_adv = run(name, model, x, y, norm, random, eps=4 * eps)
        broken = model(x_adv).argmax(1) != y
        assert broken.any()
        assert (length(x_adv - x, norm) <= 4 * eps * (1 + 1e-5) + 1e-6).all()


@pytest.mark.parametrize("name", PARTS)
def test_a_network_that_turns_nan_is_refused_and_not_robust(name, weak):
    model, x, y, random = weak

    class Poisoned(nn.Module):
        def forward(self, z):
            natural = (z[:, None] == x).flatten(2).all(2).any(1)
            return torch.where(natural[:, None], model(z), torch.nan)

    with pytest.raises(Refused, match="NaN"):
        run(name, Poisoned(), x, y, "Linf", random)


@pytest.mark.parametrize("name", PARTS)
def test_nothing_to_attack(name, weak):
    model, x, y, random = weak
    wrong = (y + 1) % 7
    wrong[3] = (y[3] + 2) % 7
    assert torch.equal(run(name, model, x[:3], wrong[:3], "Linf", random.at(torch.arange(3))), x[:3])


@pytest.mark.parametrize("name", PARTS)
def test_memory_layout_is_kept_for_the_network(name, weak):
    model, x, y, random = weak
    seen = set()

    class Watching(nn.Module):
        def forward(self, z):
            seen.add(z.is_contiguous(memory_format=torch.channels_last))
            return model(z)

    run(name, Watching(), x.contiguous(memory_format=torch.channels_last), y, "Linf", random)
    assert seen == {True}
