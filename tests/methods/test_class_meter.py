"""Per-class means."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from fairbench.methods.class_meter import ClassMeter


def test_mean_per_class_by_hand():
    """Class 0 has 1 and 3, mean 2; class 2 has 5; class 1 has nothing: undefined."""
    meter = ClassMeter(3)
    meter.add(torch.tensor([0, 2]), torch.tensor([1.0, 5.0]))
    meter.add(torch.tensor([0]), torch.tensor([3.0]))
    mean = meter.pop_mean()
    assert mean.tolist()[0::2] == [2.0, 5.0]
    assert mean[1].isnan()


def test_pop_resets():
    meter = ClassMeter(2)
    meter.add(torch.tensor([0]), torch.tensor([4.0]))
    meter.pop_mean()
    meter.add(torch.tensor([1]), torch.tensor([6.0]))
    mean = meter.pop_mean()
    assert mean[0].isnan()
    assert mean[1] == 6


def test_width_counts_what_classes_are_confused_with():
    meter = ClassMeter(2, 3)
    meter.add(torch.tensor([1, 1]), torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, 2.0]]))
    mean = meter.pop_mean()
    assert mean.shape == (2, 3)
    assert mean[1].tolist() == [0.5, 0.0, 1.0]


@given(st.lists(st.tuples(st.integers(0, 3), st.floats(-10, 10)), min_size=1, max_size=40), st.integers(1, 7))
def test_equals_numpy_whatever_the_batches(rows, size):
    y, value = torch.tensor([r[0] for r in rows]), torch.tensor([r[1] for r in rows], dtype=torch.float64)
    meter = ClassMeter(4)
    for start in range(0, len(rows), size):
        meter.add(y[start : start + size], value[start : start + size])
    mean = meter.pop_mean()
    for c in range(4):
        chosen = value[y == c].numpy()
        expected = np.mean(chosen) if len(chosen) else np.nan
        assert_close(mean[c], torch.tensor(expected, dtype=torch.float64), equal_nan=True)


def test_state_survives_a_state_dict_and_holds_no_gradient():
    meter, copy = ClassMeter(2), ClassMeter(2)
    meter.add(torch.tensor([0]), torch.tensor([4.0], requires_grad=True))
    assert not meter.total.requires_grad
    copy.load_state_dict(meter.state_dict())
    assert copy.pop_mean()[0] == 4
