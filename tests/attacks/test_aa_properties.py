"""Every part of AutoAttack on images of any shape, in any order and in blocks of any size."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from fairbench.attacks.apgd import apgd, apgd_targeted
from fairbench.attacks.fab import fab, fab_targeted
from fairbench.attacks.square import square
from fairbench.data.dataset import ArrayDataset
from fairbench.evaluation.blocks import cut
from fairbench.sample_random import SampleRandom

PARTS = {
    "apgd-ce": (apgd, {"loss": "ce", "steps": 8}),
    "apgd-dlr": (apgd, {"loss": "dlr", "steps": 8}),
    "apgd-t": (apgd_targeted, {"steps": 6}),
    "fab": (fab, {"steps": 5, "restarts": 2}),
    "fab-t": (fab_targeted, {"steps": 5}),
    "square": (square, {"queries": 70}),
}
EPS = {"Linf": 0.04, "L2": 0.2, "L1": 0.8}
part_names, norms = st.sampled_from(sorted(PARTS)), st.sampled_from(sorted(EPS))
few = settings(derandomize=True, max_examples=5)


class Small(nn.Module):
    """One hidden layer on images of any shape; no certainty, so that every part breaks some samples."""

    def __init__(self, shape: tuple[int, int, int], num_classes: int, seed: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        pixels = int(np.prod(shape))
        self.hidden = torch.randn(pixels, 12, generator=generator) / pixels**0.5
        self.out = torch.randn(12, num_classes, generator=generator)

    def forward(self, x: Tensor) -> Tensor:
        return ((x.flatten(1) - 0.5) @ self.hidden.to(x.dtype)).tanh() @ self.out.to(x.dtype)


def images(shape: tuple[int, int, int], count: int, model: nn.Module, seed: int) -> tuple[Tensor, Tensor]:
    """Images with exact zeros and ones, and their predicted labels; every fifth label is another one."""
    x = (1.4 * torch.rand(count, *shape, generator=torch.Generator().manual_seed(seed)) - 0.2).clamp(0, 1)
    y = model(x).argmax(1)
    y[4::5] = (y[4::5] + 1) % len(model.out[0])
    return x, y


def length(delta: Tensor, norm: str) -> Tensor:
    flat = delta.double().flatten(1)
    return {"Linf": flat.abs().amax(1), "L2": flat.norm(dim=1), "L1": flat.abs().sum(1)}[norm]


def attacked(part: str, model: nn.Module, x: Tensor, y: Tensor, norm: str, index: Tensor, eps: float) -> Tensor:
    attack, options = PARTS[part]

    def success(x_adv: Tensor, rows: Tensor) -> Tensor:
        return model(x_adv).argmax(1) != y[rows]

    return attack(model, x, y, eps=eps, norm=norm, random=SampleRandom(0, part, index), success=success, **options)


@settings(derandomize=True, max_examples=60)
@given(
    part=part_names, norm=norms, channels=st.integers(1, 3), height=st.integers(1, 9), width=st.integers(1, 9),
    num_classes=st.integers(2, 5), count=st.integers(1, 6), seed=st.integers(0, 99), factor=st.sampled_from([0, 1, 8]),
)  # fmt: skip
def test_any_shape_class_count_and_batch(part, norm, channels, height, width, num_classes, count, seed, factor):
    """One channel, non-square images, one pixel, a batch of one, two classes; a radius of 0 and one beyond the box."""
    assume(channels * height * width > 1 or norm == "Linf")
    shape = (channels, height, width)
    model = Small(shape, num_classes, seed)
    x, y = images(shape, count, model, seed)
    eps = factor * EPS[norm]
    x_adv = attacked(part, model, x, y, norm, torch.arange(count) * 7, eps)
    assert x_adv.shape == x.shape
    assert x_adv.dtype == x.dtype
    assert x_adv.min() >= 0
    assert x_adv.max() <= 1
    assert (length(x_adv - x, norm) <= eps * (1 + 1e-5) + 1e-6).all()
    right = model(x).argmax(1) == y
    moved = (x_adv != x).flatten(1).any(1)
    assert torch.equal(moved | ~right, model(x_adv).argmax(1) != y), "an example where it is broken, else x itself"
    assert not moved[~right].any()
    assert factor or torch.equal(x_adv, x), "a radius of 0 changes nothing"


def in_blocks(part: str, model: nn.Module, x: Tensor, y: Tensor, norm: str, order: list[int], size: int) -> Tensor:
    """Return the examples, sample i at place i, of a data set that holds the samples in `order`, cut as it is there."""
    index = np.asarray(order)
    dataset = ArrayDataset(x[index].float(), y[index], class_names=[str(c) for c in range(4)], index=index)
    found = torch.full_like(x, torch.nan)
    for block in cut(dataset, size):
        rows = torch.from_numpy(index[block.positions])
        found[rows] = attacked(part, model, x[rows], y[rows], norm, torch.from_numpy(block.index), EPS[norm])
    return found


@pytest.mark.parametrize("part", PARTS)
@few
@given(norm=norms, order=st.permutations(range(17)))
def test_any_order_of_the_samples_gives_the_same_bytes(part, norm, order):
    shape = (2, 5, 4)
    model = Small(shape, 4, seed=1)
    x, y = images(shape, 17, model, seed=2)
    expected = in_blocks(part, model, x, y, norm, list(range(17)), 6)
    assert not torch.equal(expected, x)
    assert torch.equal(in_blocks(part, model, x, y, norm, order, 6), expected)


@pytest.mark.parametrize("norm", ["Linf", *(pytest.param(norm, marks=pytest.mark.slow) for norm in ("L2", "L1"))])
@pytest.mark.parametrize("part", PARTS)
def test_any_block_size_gives_the_same_predictions_in_float64(part, norm):
    """66 samples in blocks of 1, 7, 64 and all: only the last bits of a float64 depend on a sample's company."""
    shape = (2, 4, 5)
    model = Small(shape, 4, seed=3)
    x, y = images(shape, 66, model, seed=4)
    x = x.double()
    found = [in_blocks(part, model, x, y, norm, list(range(66)), size) for size in (66, 64, 7, 1)]
    predictions = [model(x_adv).argmax(1) for x_adv in found]
    broken = predictions[0] != y
    assert 14 < broken.sum() < 66, "more than the labels that are wrong already, and not all"
    for prediction, x_adv in zip(predictions[1:], found[1:], strict=True):
        assert torch.equal(prediction, predictions[0])
        torch.testing.assert_close(x_adv, found[0], rtol=0, atol=1e-6)
