"""Square: its schedule, squares and patterns by hand and against the original's, its statistics, its promises."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from fairbench.attacks.square import square
from fairbench.attacks.square_proposals import LinfProposals, SpreadProposals
from fairbench.attacks.square_shapes import corners, covered_share, in_square, pattern, pixels, square_side, tiles
from fairbench.sample_random import SampleRandom


@pytest.fixture(scope="module")
def original():
    from pyautoattack.square import SquareAttack

    return SquareAttack


@pytest.mark.parametrize(("queries", "rescale"), [(5000, False), (5000, True), (700, True), (20000, False)])
def test_schedule_is_the_originals(queries, rescale, original):
    theirs = original(None, n_queries=queries, resc_schedule=rescale)
    for query in range(0, queries, 7):
        assert covered_share(query, queries, first=0.8, rescale=rescale) == theirs.p_selection(query)


def test_sides_by_hand():
    """0.8 of 32 x 32 is a square of sqrt(819.2) = 28.6 -> 29; at query 4500 0.8 / 128 gives 2.53 -> 3. L2: odd, at
    least 3; never longer than the image."""
    assert square_side(0.8, 32, 32, "Linf") == 29
    assert square_side(0.8 / 128, 32, 32, "Linf") == 3
    assert square_side(0.8 / 512, 8, 8, "Linf") == 1
    assert square_side(0.8, 28, 28, "L2") == 25
    assert square_side(0.8 / 4, 28, 28, "L2") == 13
    assert square_side(0.8 / 512, 28, 28, "L2") == 3
    assert square_side(0.8, 4, 40, "Linf") == 4
    assert square_side(0.8, 2, 2, "L1") == 2


@pytest.mark.parametrize("norm", ["L2", "L1"])
@pytest.mark.parametrize("side", [1, 2, 3, 5, 6, 7, 13, 20])
def test_patterns_are_the_originals(side, norm, original):
    attack = original(None, norm=norm)
    attack.device = torch.device("cpu")
    seen = set()
    with torch.random.fork_rng():
        for seed in range(20):
            torch.manual_seed(seed)
            theirs = attack.eta(side).flatten()
            match = [bool(torch.allclose(theirs, mine, atol=1e-6)) for mine in pattern(side, norm)]
            assert any(match)
            seen.add(match.index(True))
    assert side == 1 or seen == {0, 1}


@pytest.mark.parametrize("reach_last", [False, True])
def test_where_squares_lie(reach_last):
    """3 x 3 squares in 8 x 10: the original's begin in rows 0 .. 4 and columns 0 .. 6, all from equal shares of the
    draws, and so never cover the last row and column."""
    draws = torch.cartesian_prod(torch.linspace(0, 0.9999, 300), torch.linspace(0, 0.9999, 300))
    corner = corners(draws, torch.tensor(3), 8, 10, reach_last=reach_last)
    covered = torch.zeros(80, dtype=torch.bool)
    covered[pixels(corner, 3, 10).flatten()] = True
    covered = covered.view(8, 10)
    assert covered[:7, :9].all()
    assert bool(covered[7].any()) is reach_last
    assert bool(covered[:, 9].any()) is reach_last
    counts = torch.bincount(corner)
    counts = counts[counts > 0].float()
    assert len(counts) == ((6 * 8) if reach_last else (5 * 7))
    assert counts.max() / counts.min() < 1.1


def test_pixels_by_hand():
    assert pixels(torch.tensor([12, 0]), 2, 10).tolist() == [[[12, 13, 22, 23]], [[0, 1, 10, 11]]]
    flat = torch.tensor([[[12, 14, 22, 33, 11]]])
    assert in_square(flat, torch.tensor([12]), 2, 10).tolist() == [[[True, False, True, False, False]]]


@pytest.mark.parametrize(("height", "width"), [(28, 28), (32, 32), (8, 8), (64, 64), (33, 33)])
def test_tiles_are_the_originals(height, width):
    side, found = tiles(height, width)
    assert side == height // 5
    begin = (height - 5 * side) // 2
    along = [begin + k * side for k in range(height // side) if begin + (k + 1) * side <= height]
    assert found == [(top, left) for top in along for left in along]


@pytest.mark.parametrize(("height", "width"), [(14, 14), (5, 40), (3, 2), (20, 7)])
def test_tiles_fit_any_image(height, width):
    side, found = tiles(height, width)
    assert found
    assert all(top + side <= height and left + side <= width for top, left in found)


def test_a_linf_proposal_by_hand():
    """A 2 x 2 square at (1, 0) of a 3 x 3 image, sign up in channel 0 and down in channel 1: the edges of the ball, and
    of the box where that is nearer; refused, everything is as before."""
    x = torch.full((1, 2, 3, 3), 0.5)
    x[0, 0, 1, 0] = 0.95
    proposals = LinfProposals.around(x, torch.tensor([0.1]))
    x_best = x.clone()
    draws = torch.tensor([[0.0, 0.0, 0.9, 0.1]])
    new = proposals.propose(x_best, draws, torch.tensor([[3]]), 2)
    expected = x.clone()
    expected[0, 0, 1:, :2] = 0.6
    expected[0, 0, 1, 0] = 1.0
    expected[0, 1, 1:, :2] = 0.4
    assert torch.allclose(new, expected)
    proposals.settle(x_best, new, torch.tensor([False]))
    assert torch.equal(x_best, x)
    new = proposals.propose(x_best, draws, torch.tensor([[3]]), 2)
    proposals.settle(x_best, new, torch.tensor([True]))
    assert torch.allclose(x_best, expected)


@pytest.mark.parametrize("norm", ["L2", "L1"])
def test_a_proposal_uses_the_whole_budget(norm):
    """Grey images leave the box out of it: start and proposals have norm eps, the emptied square is natural again."""
    x, eps = torch.full((6, 3, 12, 12), 0.5), torch.linspace(0.2, 0.7, 6)
    proposals = SpreadProposals(x, eps, norm)
    random = SampleRandom(0, "spread", torch.arange(6))
    x_best = proposals.start(random)
    draws = random.fork("draws").uniform((proposals.draws,))
    corner = torch.tensor([[0, 6 * 12 + 6]]).expand(6, 2)
    new = proposals.propose(x_best, draws, corner, 3)
    for image in (x_best, new):
        delta = (image - x).flatten(1)
        size = delta.norm(dim=1) if norm == "L2" else delta.abs().sum(1)
        assert torch.allclose(size, eps, rtol=1e-4)
    assert (x_best - x)[:, :, 6:9, 6:9].abs().max() > 1e-3
    assert (new - x)[:, :, 6:9, 6:9].abs().max() < 1e-6
    assert ((new - x)[:, :, :3, :3] - (x_best - x)[:, :, :3, :3]).abs().amax((1, 2, 3)).min() > 1e-3


def test_every_sample_draws_its_own_squares():
    x = torch.full((40, 1, 16, 16), 0.5)
    moved = []

    class Watching(nn.Module):
        def forward(self, z):
            moved.append(z.clone())
            return torch.stack([torch.zeros(len(z)), torch.ones(len(z))], 1)

    random = SampleRandom(0, "own", torch.arange(40))
    square(Watching(), x, torch.ones(40, dtype=torch.long), eps=0.1, random=random, queries=300)
    assert len(moved) == 2 + 300, "the natural images, the start, and one forward per query"
    last = moved[-1] - moved[1]
    assert (last.flatten(1) != 0).any(1).sum() > 20, "most squares change something"
    assert len({tuple(row) for row in (last.flatten(1) != 0).long().tolist()}) > 15


def test_accepts_only_what_lowers_the_margin():
    """The margins that the network gave to what was kept never rise."""
    best = torch.full((5,), math.inf)
    kept = []

    class Steep(nn.Module):
        def forward(self, z):
            value = (z * torch.linspace(-1, 1, 64).view(1, 1, 8, 8)).sum((1, 2, 3)) + 30
            kept.append(value.clone())
            return torch.stack([torch.zeros_like(value), value], 1)

    x = torch.rand(5, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    state = {}

    class Peek:
        def recall(self):
            return None

        def offer(self, offered, done):
            state.update(offered())
            limit = state["walk.limit"]
            assert (limit <= best + 1e-6).all()
            best.copy_(torch.minimum(best, limit))

    random = SampleRandom(0, "lower", torch.arange(5))
    square(Steep(), x, torch.ones(5, dtype=torch.long), eps=0.2, random=random, queries=200, memory=Peek())
    assert (best < kept[1] - 0.5).all()
    assert torch.allclose(best, torch.stack(kept[1:]).amin(0))


@pytest.mark.parametrize(("norm", "eps"), [("Linf", 0.03), ("L2", 0.25), ("L1", 1.2)])
def test_as_strong_as_the_original(norm, eps, original):
    """300 samples of a small network, 100 queries: the shares broken differ by at most 3.5 standard deviations of the
    difference of two binomials with the same share."""
    with torch.random.fork_rng():
        torch.manual_seed(2)
        model = nn.Sequential(nn.Conv2d(2, 6, 3), nn.ReLU(), nn.Flatten(), nn.Linear(6 * 36, 5)).eval()
        model.requires_grad_(False)
        x = torch.rand(300, 2, 8, 8)
        y = model(x).argmax(1)
        attack = original(model, norm=norm, eps=eps, n_queries=100, seed=1, resc_schedule=False, device="cpu")
        with torch.no_grad():
            # The original shares its squares among a batch, which makes verdicts dependent: several batches.
            theirs = torch.cat([attack.perturb(x[k : k + 50], y[k : k + 50]) for k in range(0, 300, 50)])
    ours = square(model, x, y, eps=eps, norm=norm, queries=100, random=SampleRandom(0, "sq", torch.arange(300)))
    shares = [(model(x_adv).argmax(1) != y).float().mean().item() for x_adv in (theirs, ours)]
    mean = sum(shares) / 2
    assert 0.1 < mean < 0.9
    assert abs(shares[0] - shares[1]) < 3.5 * math.sqrt(2 * mean * (1 - mean) / 300)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "norm", "eps"),
    [("mnist_fgsm", "Linf", 0.3), ("cifar10_resnet2b", "Linf", 2 / 255), ("mnist_pgd", "L2", 1.5)],
)
def test_as_strong_as_the_original_on_real_checkpoints(real_checkpoint, name, norm, eps, original):
    """400 images, 2,000 queries, paired: samples that only one of the two breaks are as often either's (two-sided sign
    test at 0.001), and differing verdicts are at most twice those between two seeds of the original, plus 5."""
    network, x, y = real_checkpoint(name, 400)
    verdicts = []
    with torch.random.fork_rng(), torch.no_grad():
        for seed in (0, 1):
            attack = original(network, norm=norm, eps=eps, n_queries=2000, seed=seed, resc_schedule=False, device="cpu")
            parts = [attack.perturb(x[k : k + 50], y[k : k + 50]) for k in range(0, 400, 50)]
            verdicts.append(network(torch.cat(parts)).argmax(1) != y)
    random = SampleRandom(0, "sq", torch.arange(400))
    ours = network(square(network, x, y, eps=eps, norm=norm, queries=2000, random=random)).argmax(1) != y
    only_ours, only_theirs = (ours & ~verdicts[0]).sum().item(), (~ours & verdicts[0]).sum().item()
    assert only_ours + only_theirs <= 2 * (verdicts[0] != verdicts[1]).sum().item() + 5
    from scipy.stats import binomtest

    if only_ours + only_theirs:
        assert binomtest(only_ours, only_ours + only_theirs).pvalue > 0.001
