from __future__ import annotations

import numpy as np
import pytest
import sklearn.metrics

from fairbench.errors import BadInput
from fairbench.metrics.confusion import confusion_matrix, row_shares


def test_by_hand() -> None:
    """Label 0 goes to 0, 2, 2; label 1 to 1; label 3 to 0; label 2 never occurs."""
    found = confusion_matrix([0, 0, 0, 1, 3], [0, 2, 2, 1, 0], 4)
    assert found.tolist() == [[1, 0, 2, 0], [0, 1, 0, 0], [0, 0, 0, 0], [1, 0, 0, 0]]
    shares = row_shares(found)
    np.testing.assert_allclose(shares[0], [1 / 3, 0, 2 / 3, 0])
    assert np.isnan(shares[2]).all()


def test_scikit_learn_agrees() -> None:
    rng = np.random.default_rng(0)
    labels, predictions = rng.integers(0, 6, 300), rng.integers(0, 6, 300)
    np.testing.assert_array_equal(
        confusion_matrix(labels, predictions, 6), sklearn.metrics.confusion_matrix(labels, predictions, labels=range(6))
    )


@pytest.mark.parametrize(
    ("labels", "predictions"), [([0, 4], [0, 0]), ([0, 1], [0, -1]), ([0, 1], [0]), ([[0]], [[0]]), ([0.0], [0])]
)
def test_what_does_not_fit_is_refused(labels: list[int], predictions: list[int]) -> None:
    with pytest.raises(BadInput):
        confusion_matrix(labels, predictions, 4)
