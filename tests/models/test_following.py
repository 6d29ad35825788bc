"""Following squares through a network gives the network's logits."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from fairbench.attacks.square import square
from fairbench.models import build_model
from fairbench.models.attack_copy import attack_copy
from fairbench.models.following import Follower
from fairbench.models.following_plan import make_plan, windows
from fairbench.models.local_graph import local_graph
from fairbench.sample_random import SampleRandom


class Residual(nn.Module):
    """Two resolutions, a shortcut, in-place code, an odd kernel, a pool, normalisation and a linear head."""

    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.tensor([0.4, 0.5]).view(1, 2, 1, 1))
        self.first, self.second = nn.Conv2d(2, 6, 3, padding=1), nn.Conv2d(6, 6, (3, 1), padding=(1, 0))
        self.down, self.shortcut = nn.Conv2d(6, 8, 4, 2, 1), nn.Conv2d(6, 8, 1, 2)
        self.norm, self.relu, self.pool = nn.BatchNorm2d(8), nn.ReLU(inplace=True), nn.AvgPool2d(2)
        self.head = nn.Linear(8 * 5 * 4, 5)

    def forward(self, x):
        x = F.relu(self.first((x - self.mean) / 0.25), inplace=True)
        x = self.relu(self.second(x)) + x
        y = self.norm(self.down(x))
        y += self.shortcut(x)
        return self.head(self.pool(self.relu(y)).flatten(1))


@pytest.fixture
def network():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Residual()
        model.norm.running_mean.normal_()
        return model.eval().requires_grad_(False)


def images(n, *shape):
    return torch.rand(n, *shape, generator=torch.Generator().manual_seed(1))


def walk(follower, network, x, side, steps=12):
    """Change squares, accept some, drop some images; the logits must be the network's all the time."""
    generator = torch.Generator().manual_seed(2)
    height, width = x.shape[2:]
    x = x.clone()
    for step in range(steps):
        n = len(x)
        top = torch.randint(0, height - side + 1, (n,), generator=generator)
        left = torch.randint(0, width - side + 1, (n,), generator=generator)
        if step == 0:
            top[0], left[0], top[-1], left[-1] = 0, 0, height - side, width - side
        before = x.clone()
        for i in range(n):
            down, across = slice(top[i], top[i] + side), slice(left[i], left[i] + side)
            x[i, :, down, across] = torch.rand(x.shape[1], 1, 1, generator=generator)
        logits = follower.logits(x, top * width + left)
        assert torch.allclose(logits, network(x), rtol=1e-4, atol=1e-5)
        accepted = torch.rand(n, generator=generator) < 0.4
        follower.settle(accepted)
        x = torch.where(accepted[:, None, None, None], x, before)
        if step % 5 == 4:
            stays = torch.rand(n, generator=generator) < 0.8
            follower.keep(stays)
            x = x[stays]


@pytest.mark.parametrize("side", [1, 2, 3, 5])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_logits_are_the_networks(network, side, layout):
    x = images(9, 2, 22, 18).contiguous(memory_format=layout)
    graph = local_graph(copy.deepcopy(network), x[:2])
    plan = make_plan(graph, 1 << 20, side, x.device, memory=1 << 60)
    assert {"first", "second"} <= {node.name for node in plan.window}
    assert side > 3 or "down" in {node.name for node in plan.window}
    walk(Follower(graph, plan, x), network, x, side)


def test_everything_local_up_to_the_head(network):
    """Squares of one pixel in a large image reach little even of the last local layer."""
    x = images(3, 2, 42, 34)
    network.head = nn.Linear(8 * 10 * 8, 5)
    graph = local_graph(copy.deepcopy(network), x)
    plan = make_plan(graph, 1 << 20, 1, x.device, memory=1 << 60)
    names = {node.name for node in plan.window}
    assert {"first", "second", "down", "shortcut", "norm", "add_1", "pool"} <= names
    assert [node.op for node in plan.tail] == ["call_method", "call_module", "output"]
    assert len(plan.heads) == 1, "the flatten is done without"
    walk(Follower(graph, plan, x), network, x, 1)


def test_windows_by_hand():
    """A pixel p of 8 in a row, through a 3-wide convolution (padding 1): p - 1 .. p + 1; then kernel 4, stride 2,
    padding 1 to 4 outputs: output i reads 2 i - 1 .. 2 i + 2, so i from ceil((p - 3) / 2) to floor((p + 2) / 2). At p
    = 4 that is 1 .. 3, three outputs; at p = 0 it is 0 .. 1, and the window of three begins at 0; at p = 7 it is 2 ..
    3, and begins at 1."""
    model = nn.Sequential(nn.Conv2d(1, 2, 3, 1, 1), nn.Conv2d(2, 2, 4, 2, 1), nn.Flatten(), nn.Linear(32, 2)).eval()
    graph = local_graph(model, torch.rand(1, 1, 8, 8))
    found = {node.name: window for node, window in windows(graph, 1).items()}
    assert found["_0"].size == (3, 3)
    assert found["_0"].starts[0].tolist() == [0, 0, 1, 2, 3, 4, 5, 5]
    assert found["_1"].size == (3, 3)
    assert [found["_1"].starts[0][p] for p in (0, 4, 7)] == [0, 1, 1]


@pytest.mark.parametrize("name", ["small-cnn", "resnet18", "preactresnet18", "mobilenetv2"])
def test_registry_networks(name):
    shape = (1, 28, 28) if name == "small-cnn" else (3, 32, 32)
    model = build_model(name, num_classes=10, shape=shape).eval().requires_grad_(False)
    x = images(2, *shape)
    graph = local_graph(attack_copy(model, x, local=False).network, x)
    assert graph is not None
    plan = make_plan(graph, 1 << 20, 2, x.device, memory=1 << 60)
    convolutions = sum(node in plan.window for node, work in graph.work.items() if work)
    assert convolutions >= 2
    walk(Follower(graph, plan, x), model, x, 2, steps=4)


class Untraceable(nn.Module):
    def __init__(self, kind):
        super().__init__()
        self.kind, self.conv, self.head = kind, nn.Conv2d(1, 4, 3, padding=1), nn.Linear(4, 3)

    def forward(self, x):
        if self.kind == "branches on values" and x.sum() > 0:
            x = x * 2
        y = self.conv(x)
        if self.kind == "writes in place":
            y.mul_(2)
        if self.kind == "looks at the whole image":
            y = y - y.mean((2, 3), keepdim=True)
        return self.head(y.relu().mean((2, 3)))


@pytest.mark.parametrize("kind", ["branches on values", "writes in place"])
def test_what_cannot_be_traced_is_not_followed(kind):
    x = images(2, 1, 12, 12)
    assert local_graph(Untraceable(kind).eval(), x) is None
    model = Untraceable(kind).eval()
    made = attack_copy(model, x)
    assert made.follow(x, 2) is None
    assert torch.allclose(made(x), model(x), atol=1e-6)


def test_a_layer_that_looks_at_the_whole_image_ends_the_local_part():
    x = images(3, 1, 12, 12)
    model = Untraceable("looks at the whole image").eval().requires_grad_(False)
    graph = local_graph(copy.deepcopy(model), x)
    plan = make_plan(graph, 1 << 20, 2, x.device, memory=1 << 60)
    assert {node.name for node in plan.window} == {"x", "conv"}
    walk(Follower(graph, plan, x), model, x, 2)


def test_a_network_whose_logits_it_would_not_give_is_not_followed():
    """A network that counts its calls gives other logits each time; the trace has the first count for good."""

    class Counting(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.head, self.calls = nn.Conv2d(1, 4, 3, padding=1), nn.Linear(4, 3), 0

        def forward(self, x):
            self.calls += 1
            return self.head(self.conv(x).relu().mean((2, 3))) * self.calls

    assert attack_copy(Counting().eval(), images(2, 1, 12, 12)).follow(images(2, 1, 12, 12), 1) is None


def test_nothing_is_followed_where_it_would_not_pay():
    model = build_model("small-cnn", num_classes=10, shape=(1, 28, 28)).eval()
    made = attack_copy(model, images(2, 1, 28, 28))
    assert made.follow(images(1, 1, 28, 28), 3) is None, "one image"
    assert made.follow(images(300, 1, 28, 28), 3) is not None
    assert made.follow(images(300, 1, 28, 28), 25) is None, "the whole image"


class Stop(Exception):
    pass


class Interrupting:
    """A memory that takes one state, and stops the attack there."""

    def __init__(self, at=None, saved=None):
        self.at, self.saved, self.offers = at, saved, 0

    def recall(self):
        return self.saved

    def offer(self, state, done):
        if state is None:
            return
        self.offers += 1
        if self.offers == self.at:
            self.saved = state()
            raise Stop


def test_square_follows_and_continues_exactly():
    """Enough images that following pays: the verdicts are those without, an interrupted walk ends in the same bits."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = build_model("small-cnn", num_classes=10, shape=(1, 28, 28)).eval().requires_grad_(False)
    x = images(300, 1, 28, 28)
    y = model(x).argmax(1)
    plain, made = attack_copy(model, x[:2], local=False), attack_copy(model, x[:2])
    follows = []
    follow = made.follow

    def watched(images, side):
        follows.append(follow(images, side))
        return follows[-1]

    made.follow = watched
    options = {"eps": 0.05, "random": SampleRandom(0, "sq", torch.arange(300)), "queries": 330, "first_share": 0.03}
    whole = square(made, x, y, **options)
    assert any(found is not None for found in follows)
    verdicts = model(whole).argmax(1) != y
    assert 10 < verdicts.sum() < 290
    assert (verdicts != (model(square(plain, x, y, **options)).argmax(1) != y)).sum() <= 2
    saved, stops = None, 0
    while True:
        memory = Interrupting(at=2, saved=saved)
        try:
            again = square(made, x, y, memory=memory, **options)
            break
        except Stop:
            saved, stops = memory.saved, stops + 1
    assert stops == 2
    assert torch.equal(again, whole)
