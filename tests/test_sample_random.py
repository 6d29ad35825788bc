"""Numbers that belong to a sample: what they depend on, what they do not depend on, and that they are random."""

from __future__ import annotations

import hashlib

import pytest
import torch
from scipy.stats import chisquare, kstest

from fairbench.sample_random import SampleRandom

INDEX = torch.tensor([0, 1, 5, 2**40, 7])
GOLDEN_UNIFORM = [[0.826653242111206, 0.9339902400970459], [0.527039647102356, 0.8673519492149353]]
GOLDEN_NORMAL = [[-0.6714934, 0.8902754], [-0.9965727, -0.8804479]]
GOLDEN_INTEGERS = [[911, 334], [677, 401]]


def _draw(random: SampleRandom, kind: str, iteration: int = 0) -> torch.Tensor:
    if kind == "integers":
        return random.integers((3, 4), 1000, iteration=iteration)
    return getattr(random, kind)((3, 4), iteration=iteration)


KINDS = ["uniform", "normal", "integers"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_sample_has_its_numbers_in_any_batch_and_order(kind):
    whole = _draw(SampleRandom(0, "a", INDEX), kind)
    rows = torch.tensor([4, 2, 0])
    assert torch.equal(_draw(SampleRandom(0, "a", INDEX[rows]), kind), whole[rows])
    assert torch.equal(_draw(SampleRandom(0, "a", INDEX).at(rows), kind), whole[rows])
    mask = torch.tensor([True, False, True, True, False])
    assert torch.equal(_draw(SampleRandom(0, "a", INDEX).at(mask), kind), whole[mask])
    for row in range(5):
        assert torch.equal(_draw(SampleRandom(0, "a", INDEX[row : row + 1]), kind)[0], whole[row])


@pytest.mark.parametrize("kind", KINDS)
def test_every_part_of_the_key_changes_the_numbers(kind):
    base = SampleRandom(0, "a", INDEX)
    others = [
        SampleRandom(1, "a", INDEX), SampleRandom(0, "b", INDEX), SampleRandom(0, "a", INDEX + 1),
        SampleRandom(0, "a", INDEX, epoch=1), base.fork("x"), base.fork("x").fork("y"),
    ]  # fmt: skip
    drawn = [_draw(base, kind), _draw(base, kind, iteration=1), *(_draw(other, kind) for other in others)]
    for i, first in enumerate(drawn):
        assert len({float(v) for v in first[0].flatten()}) > 3, "elements of a sample must differ"
        for second in drawn[i + 1 :]:
            assert (first == second).float().mean() < 0.2


def test_the_same_call_gives_the_same_numbers_and_leaves_the_global_generator():
    random = SampleRandom(0, "a", INDEX)
    state = torch.get_rng_state()
    for kind in KINDS:
        assert torch.equal(_draw(random, kind), _draw(random, kind))
    assert torch.equal(torch.get_rng_state(), state)


def test_at_keeps_epoch_and_purpose():
    random = SampleRandom(0, "a", INDEX, epoch=3).fork("start").at(torch.tensor([1]))
    assert (random.epoch, random.purpose, random.samples.tolist()) == (3, "a/start", [1])


# One p-value in a thousand is below 0.001; the draws are fixed, so that a pass today is a pass for good.
@pytest.mark.parametrize(
    "layout",
    [
        lambda: SampleRandom(0, "a", torch.arange(1)).uniform((50_000,))[0],
        lambda: SampleRandom(0, "a", torch.arange(50_000)).uniform((1,))[:, 0],
        lambda: torch.cat([SampleRandom(s, "a", torch.arange(1)).uniform((1,))[0] for s in range(2000)]),
        lambda: torch.cat([SampleRandom(0, "a", torch.arange(1)).uniform((1,), iteration=i)[0] for i in range(2000)]),
        lambda: torch.cat([SampleRandom(0, "a", torch.arange(1), epoch=e).uniform((1,))[0] for e in range(2000)]),
    ],
    ids=["elements", "samples", "seeds", "iterations", "epochs"],
)
def test_uniform_is_uniform_along_every_part_of_the_key(layout):
    values = layout()
    assert values.min() >= 0
    assert values.max() < 1
    assert kstest(values.numpy(), "uniform").pvalue > 0.001
    # Neighbours are uncorrelated: 4 standard errors.
    centred = values - values.mean()
    lag = float((centred[1:] * centred[:-1]).mean() / centred.square().mean())
    assert abs(lag) < 4 / len(values) ** 0.5


def test_normal_is_normal():
    values = SampleRandom(0, "a", torch.arange(500)).normal((100,)).flatten()
    assert torch.isfinite(values).all()
    assert kstest(values.numpy(), "norm").pvalue > 0.001


def test_integers_are_uniform_and_in_range():
    values = SampleRandom(0, "a", torch.arange(500)).integers((100,), 7).flatten()
    assert values.dtype == torch.int64
    assert chisquare(torch.bincount(values, minlength=7).numpy()).pvalue > 0.001
    high = torch.tensor([1, 2, 3, 1000, 2**31 - 1])
    drawn = SampleRandom(0, "a", torch.arange(200)).integers((5,), high)
    assert (drawn >= 0).all()
    assert (drawn < high).all()


def test_uniform_keeps_its_bounds():
    values = SampleRandom(0, "a", torch.arange(100)).uniform((100,), -0.3, 0.3)
    assert values.min() >= -0.3
    assert values.max() <= 0.3
    assert values.dtype == torch.float32


def test_golden_values():
    """The numbers of all published runs; a change is a new protocol version (see CHANGELOG)."""
    random = SampleRandom(0, "pgd20", torch.tensor([0, 9999]))
    torch.testing.assert_close(random.uniform((2,)), torch.tensor(GOLDEN_UNIFORM), rtol=0, atol=0)
    torch.testing.assert_close(random.normal((2,)), torch.tensor(GOLDEN_NORMAL), rtol=0, atol=1e-6)
    assert random.integers((2,), 1000).tolist() == GOLDEN_INTEGERS


def test_uniform_is_splitmix64_in_python_integers():
    """The generator written a second time with unbounded integers modulo 2^64 (Steele, Lea & Flood 2014)."""
    mask, golden = 2**64 - 1, 0x9E3779B97F4A7C15

    def mix(z: int) -> int:
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 & mask
        z = (z ^ (z >> 27)) * 0x94D049BB133111EB & mask
        return z ^ (z >> 31)

    word = int.from_bytes(hashlib.blake2b(b"7/start", digest_size=8).digest(), "little")
    found = SampleRandom(7, "start", torch.tensor([12]), epoch=2).uniform((3,), iteration=5)[0]
    key = mix((12 * golden + word) & mask)
    key = mix((key + 2 * 0xD1342543DE82EF95 + 1) & mask)
    key = mix((key + 5 * 0x9FB21C651E98DF25) & mask)
    expected = [(mix((key + (i + 1) * golden) & mask) >> 40) / 2**24 for i in range(3)]
    assert found.tolist() == expected
