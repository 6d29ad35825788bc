"""A data set without some classes: new labels, old identities, and the way back."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fairbench.data import load_dataset
from fairbench.data.dataset import ArrayDataset
from fairbench.data.dropped import drop_classes, keep_classes, restored
from fairbench.errors import BadInput
from fairbench.outcomes import Outcomes


def data() -> ArrayDataset:
    x = np.arange(8, dtype=np.uint8).reshape(8, 1, 1, 1)
    return ArrayDataset(x, [0, 1, 2, 3, 0, 1, 2, 3], class_names=list("abcd"), index=np.arange(8) * 10 + 5)


def test_by_hand():
    found = drop_classes(data(), ["b"])
    assert found.class_names == ("a", "c", "d")
    assert found.kept == (0, 2, 3)
    assert found.y.tolist() == [0, 1, 2, 0, 1, 2]
    assert found.index.tolist() == [5, 25, 35, 45, 65, 75]
    assert found.pixels([1, 5]).flatten().tolist() == [2, 7]
    assert [part.flatten().tolist() for part in found.stream([np.array([0, 1]), np.array([3])])] == [[0, 2], [4]]
    assert found.selection == "all, without b"
    told = found.describe()
    assert (told["num_classes"], told["class_names"], told["count"]) == (4, ["a", "b", "c", "d"], 6)
    assert told["kept_classes"] == [0, 2, 3]


def test_a_choice_keeps_the_map():
    found = drop_classes(data(), ["b"]).first_per_class(1)
    assert found.index.tolist() == [5, 25, 35]
    assert found.kept == (0, 2, 3)
    assert found.selection == "first 1 of each class, without b"
    again = keep_classes(data(), [0, 2, 3], what="it").first_per_class(1)
    assert again.sha256 == found.sha256
    other = keep_classes(data().first_per_class(1), [0, 1, 2], what="it")
    assert other.sha256 != found.sha256


def test_the_way_back():
    small = Outcomes.of_columns("natural", index=[5, 25, 35], label=[0, 1, 2], prediction=[2, 1, 0])
    frame = restored(small, (0, 2, 3)).frame
    assert frame["label"].tolist() == [0, 2, 3]
    assert frame["prediction"].tolist() == [3, 2, 0]


def test_samples_are_those_of_the_whole_set():
    whole, found = load_dataset("digits"), drop_classes(load_dataset("digits"), ["1", "9"])
    place = {int(index): row for row, index in enumerate(whole.index)}
    rows = [place[int(index)] for index in found.index]
    assert torch.equal(whole.pixels(rows), found.pixels(range(len(found))))
    assert np.array_equal(whole.y[rows], np.asarray(found.kept)[found.y])


@pytest.mark.parametrize(
    ("names", "words"), [(["e"], "unknown class"), (["a", "a"], "twice"), (["a", "b", "c"], "two")]
)
def test_bad_names(names, words):
    with pytest.raises(BadInput, match=words):
        drop_classes(data(), names)


@pytest.mark.parametrize("kept", ["01", [0], [0, 9], [1, 0], [0, 0], [True, 2], None])
def test_bad_sidecars(kept):
    with pytest.raises(BadInput, match="kept_classes"):
        keep_classes(data(), kept, what="the sidecar")
