from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairbench.data import load_dataset
from fairbench.data.splits import own_per_class, validation_rows
from fairbench.errors import BadInput


@given(
    counts=st.lists(st.integers(0, 40), min_size=1, max_size=6).filter(lambda counts: max(counts) >= 2),
    per_class=st.integers(1, 20),
    seed=st.integers(0, 5),
)
def test_each_class_gives_its_share_and_keeps_the_rest(counts: list[int], per_class: int, seed: int) -> None:
    """min(per_class, a fifth), at least one where there are two: a class of 1 gives 0, of 4 gives 1, of 20 up to 4."""
    y = np.repeat(np.arange(len(counts)), counts)
    held = np.bincount(y[validation_rows(y, len(counts), per_class, seed)], minlength=len(counts))
    expected = [0 if n < 2 else max(1, min(per_class, n // 5)) for n in counts]
    assert held.tolist() == expected


def test_the_split_depends_on_the_seed_alone() -> None:
    y = np.tile(np.arange(10), 50)
    first = validation_rows(y, 10, 5, 0)
    assert np.array_equal(first, validation_rows(y, 10, 5, 0))
    assert not np.array_equal(first, validation_rows(y, 10, 5, 1))
    # Frozen: a run on another machine, or with another NumPy or torch, must hold out the same images.
    assert np.flatnonzero(first)[:6].tolist() == [16, 33, 35, 38, 66, 67]


def test_splits_are_disjoint_and_together_everything() -> None:
    train, held = load_dataset("digits", "train"), load_dataset("digits", "validation")
    assert sorted([*train.index, *held.index]) == list(range(897))
    other = load_dataset("digits", "validation", validation_seed=1)
    assert set(other.index) != set(held.index)


def test_nothing_to_hold_out_is_one_sentence() -> None:
    with pytest.raises(BadInput, match="at least 2 training images"):
        validation_rows(np.arange(3), 3, 1, 0)


@pytest.mark.parametrize(("count", "classes", "expected"), [(5, 10, 1), (1000, 10, 10), (10**6, 10, 500)])
def test_a_persons_own_set_gives_a_tenth_of_the_mean_class(count: int, classes: int, expected: int) -> None:
    assert own_per_class(np.zeros(count, np.int64), classes) == expected
