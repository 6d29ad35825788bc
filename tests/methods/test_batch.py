"""Batches drop and reorder rows consistently; fractions of a schedule."""

from __future__ import annotations

import pytest
import torch

from fairbench.methods.base import EpochState


@pytest.mark.parametrize(
    "rows", [torch.tensor([2, 0]), torch.tensor([True, False, True, False] * 2)], ids=["index", "mask"]
)
def test_at_keeps_rows_together(tiny, rows):
    batch = tiny.batch().plus(x_adv=tiny.batch(seed=1).x, survived=torch.arange(8))
    part = batch.at(rows)
    order = torch.arange(8)[rows]
    assert torch.equal(part.index, order)
    assert torch.equal(part.extra["survived"], order)
    for name in ("x", "y", "x_adv"):
        assert torch.equal(getattr(part, name), getattr(batch, name)[order])


def test_plus_detaches_and_keeps_what_was_there(tiny):
    value = torch.ones(8, requires_grad=True)
    batch = tiny.batch().plus(first=value * 2).plus(x_adv=tiny.batch().x * value.view(-1, 1, 1, 1))
    assert set(batch.extra) == {"first"}
    assert not batch.extra["first"].requires_grad
    assert not batch.adversarial.requires_grad
    assert batch.plus(second=value).x_adv is batch.x_adv


@pytest.mark.parametrize(
    ("fraction", "epochs", "expected"),
    [(0, 300, 0), (215 / 300, 300, 215), (260 / 300, 300, 260), (0.5, 5, 2), (0.01, 10, 1), (1, 10, 10)],
)
def test_fraction_of_a_schedule(fraction, epochs, expected):
    assert EpochState(0, epochs, 1.0).at(fraction) == expected
