"""Superclasses: the known ones, a file's, and the share of errors that stay within."""

from __future__ import annotations

import json
from collections import Counter

import numpy as np
import pytest

from fairbench.data import class_names
from fairbench.errors import BadInput
from fairbench.metrics.superclass import (
    Superclasses,
    known_superclasses,
    read_superclasses,
    superclass_share,
)


def test_known_groups():
    cifar = known_superclasses(class_names.CIFAR10)
    assert cifar.names == ("animals", "vehicles")
    assert cifar.of_class == (1, 1, 0, 0, 0, 0, 0, 0, 1, 1)
    stl = known_superclasses(class_names.STL10)
    assert stl.of_class == (1, 0, 1, 0, 0, 0, 0, 0, 1, 1)
    hundred = known_superclasses(class_names.CIFAR100)
    assert len(hundred.names) == 20
    assert set(Counter(hundred.of_class).values()) == {5}
    assert hundred.names[hundred.of_class[class_names.CIFAR100.index("wolf")]] == "large carnivores"


def test_classes_without_kin_have_none():
    assert known_superclasses(class_names.DIGITS) is None
    assert known_superclasses(("cat", "dog", "table")) is None
    assert known_superclasses(("cat", "dog")) is None  # one superclass is no partition


def test_share_by_hand():
    """a1, a2 | b1, b2. Errors: a1 -> a2 3, a1 -> b1 1, b2 -> b1 2, b1 -> a1 2: 5 of 8 within; chance 1 of 3."""
    groups = Superclasses(("a", "b"), (0, 0, 1, 1))
    confusion = [[6, 3, 1, 0], [0, 10, 0, 0], [2, 0, 8, 0], [0, 0, 2, 8]]
    found = superclass_share(confusion, groups)
    assert (found.errors, found.within, found.share) == (8, 5, 5 / 8)
    assert found.if_spread == pytest.approx(1 / 3)
    assert found.confusion.tolist() == [[19, 1], [2, 18]]
    assert found.accuracy.tolist() == [19 / 20, 18 / 20]
    # Wilson, z = 1.96: middle (5/8 + z^2/16) / (1 + z^2/8) = 0.5844, half 0.2783.
    assert found.interval == pytest.approx((0.3057, 0.8632), abs=2e-4)


def test_uneven_groups_weigh_chance_by_where_errors_are():
    """A class alone in its superclass has no kin: its 4 errors count 0 of 2, class 0's 2 errors count 1 of 2 each."""
    found = superclass_share([[8, 1, 1], [0, 5, 0], [2, 2, 6]], Superclasses(("a", "b"), (0, 0, 1)))
    assert found.if_spread == pytest.approx((2 * 1 + 4 * 0) / (6 * 2))
    assert found.share == 1 / 6


def test_no_error_is_undefined():
    found = superclass_share([[3, 0], [0, 0]], Superclasses(("a", "b"), (0, 1)))
    assert np.isnan(found.share)
    assert np.isnan(found.if_spread)
    assert found.accuracy[0] == 1
    assert np.isnan(found.accuracy[1])


def test_a_file(tmp_path):
    path = tmp_path / "groups.json"
    path.write_text(json.dumps({"round": ["0", "6", "8"], "straight": ["1", "7"]}))
    found = read_superclasses(path, ("0", "1", "6", "7", "8"))
    assert found == Superclasses(("round", "straight"), (0, 1, 0, 1, 0))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ('{"a": ["x"]}', "leaves out y"),
        ('{"a": ["x", "y"], "b": ["x"]}', "twice"),
        ('{"a": ["x", "z"]}', "no class of this run"),
        ('{"a": "x"}', "must hold lists"),
        ('["x"]', "JSON object"),
        ("{", "not readable JSON"),
    ],
)
def test_bad_files(content, words, tmp_path):
    path = tmp_path / "groups.json"
    path.write_text(content)
    with pytest.raises(BadInput, match=words):
        read_superclasses(path, ("x", "y"))
