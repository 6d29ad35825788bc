"""Margins with their uncertainty, and what a run's folder says of the last layer."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from fairbench.errors import BadInput
from fairbench.metrics.correlates import class_margin, correlates, read_classifier
from fairbench.outcomes import Outcomes

TABLE = Outcomes.of_columns(
    "natural", index=range(7), label=[0, 0, 0, 1, 1, 3, 3], prediction=[0, 0, 0, 1, 1, 3, 3],
    margin=[1.0, 2.0, 3.0, 5.0, 5.0, 2.0, math.nan],
)  # fmt: skip


def test_margin_by_hand():
    """Class 0: mean 2, std 1, so 2 +- t(2) / sqrt(3); class 1 has no spread, class 2 no image, class 3 a null."""
    mean, limits = class_margin(TABLE, "natural", 4)
    assert mean[:2].tolist() == [2, 5]
    assert np.isnan(mean[2:]).all()
    half = stats.t.ppf(0.975, 2) / math.sqrt(3)
    assert limits[0] == pytest.approx((2 - half, 2 + half))
    assert limits[1].tolist() == [5, 5]
    oracle = stats.ttest_1samp([1.0, 2.0, 3.0], 0).confidence_interval(0.95)
    assert limits[0] == pytest.approx((oracle.low, oracle.high))


def test_each_quantity_is_correlated_over_the_classes_it_has():
    robust = [0.9, 0.5, math.nan, 0.1]
    found = correlates(robust, [0.99, 0.9, math.nan, 0.8], np.full((4, 2), math.nan), TABLE, [4.0, 3.0, 9.0, 1.0])
    assert [one.key for one in found] == ["natural_accuracy", "margin", "weight_norm"]
    assert [one.correlation.points for one in found] == [3, 2, 3]
    assert [one.correlation.tau for one in found] == [1, -1, 1]
    attack_only = Outcomes(TABLE.frame.assign(attack="pgd20"))
    assert [one.key for one in correlates(robust, robust, np.zeros((4, 2)), attack_only, None)] == []


def test_reading(tmp_path):
    assert read_classifier(None, 2) is None
    assert read_classifier(tmp_path, 2) is None
    path = tmp_path / "classifier.json"
    path.write_text('{"layer": null, "weight_norm": null, "bias": null, "reason": "none there"}')
    assert read_classifier(tmp_path, 2)["reason"] == "none there"
    path.write_text('{"layer": "fc", "weight_norm": [1, 2.5]}')
    assert read_classifier(tmp_path, 2)["weight_norm"] == [1, 2.5]


@pytest.mark.parametrize("content", ['{"layer": "fc", "weight_norm": [1]}', '{"layer": "fc", "weight_norm": [1, "2"]}',
                                     '{"layer": "fc"}'])  # fmt: skip
def test_a_damaged_file_is_refused(content, tmp_path):
    (tmp_path / "classifier.json").write_text(content)
    with pytest.raises(BadInput, match="2 numbers as weight_norm"):
        read_classifier(tmp_path, 2)
