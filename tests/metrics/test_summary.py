from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from statsmodels.stats.proportion import proportion_confint

from fairbench.errors import BadInput
from fairbench.metrics.equal import METRICS
from fairbench.metrics.summary import metrics_bytes, summarize
from fairbench.metrics.worst import probability_worst
from fairbench.outcomes import Outcomes
from fairbench.runs import Run

NAMES = ("cat", "dog", "ship", "unseen")
# Robust under pgd20: cat 1 of 4, dog 2 of 4, ship 3 of 3; the broken ones go to the class beside.
LABELS = [0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2]
PREDICTIONS = [0, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2]


def _outcomes() -> Outcomes:
    index = np.arange(11)
    return Outcomes.concat(
        [
            Outcomes.of_columns("natural", index=index, label=LABELS, prediction=LABELS),
            Outcomes.of_columns("pgd20", index=index, label=LABELS, prediction=PREDICTIONS),
        ]
    )


@pytest.fixture
def pgd() -> dict[str, Any]:
    return summarize(_outcomes(), NAMES)["attacks"]["pgd20"]


def test_numbers_by_hand(pgd: dict[str, Any]) -> None:
    """6 of 11; classes .25 .5 1: mean 7/12, squared deviations 16/144, 1/144, 25/144."""
    assert pgd["average"] == 6 / 11
    assert pgd["class_average"] == pytest.approx(7 / 12)
    assert pgd["worst_class"] == {
        "index": 0,
        "name": "cat",
        "accuracy": 0.25,
        "probability": probability_worst([1, 2, 3], [4, 4, 3], 0),
    }
    assert pgd["worst_10pct"] == pgd["worst_20pct"] == 0.25
    assert pgd["std"] == pytest.approx((7 / 72) ** 0.5)
    assert pgd["normalized_std"] == pytest.approx((7 / 72) ** 0.5 * 12 / 7)
    assert pgd["normalized_std_ddof1"] == pytest.approx((7 / 48) ** 0.5 * 12 / 7)
    assert pgd["gap"] == 0.75
    np.testing.assert_array_equal(pgd["class_accuracy"], [0.25, 0.5, 1.0, np.nan])
    assert pgd["class_count"] == [4, 4, 3, 0]
    # Wilson: 3 of 3 has the lower limit n / (n + z^2) = 3 / 6.841459.
    assert pgd["class_interval"][2] == pytest.approx([3 / 6.841459, 1.0])
    assert pgd["class_interval"][0] == pytest.approx(proportion_confint(1, 4, method="wilson"))
    # Exact and for three classes together, each side at the error e = (1 - .95^(1/3)) / 2: 3 of 3 has e^(1/3) below.
    error = (1 - 0.95 ** (1 / 3)) / 2
    assert pgd["class_interval_simultaneous"][2] == pytest.approx([error ** (1 / 3), 1.0])
    assert pgd["class_interval_simultaneous"][0] == pytest.approx(proportion_confint(1, 4, 2 * error, method="beta"))
    assert pgd["confusion"] == [[1, 3, 0, 0], [0, 2, 2, 0], [0, 0, 3, 0], [0, 0, 0, 0]]


def test_keys_are_those_of_the_file_format(pgd: dict[str, Any]) -> None:
    assert list(pgd) == [
        "average", "class_average", "worst_class", "worst_10pct", "worst_20pct", "std", "normalized_std",
        "normalized_std_ddof1", "gap", "class_accuracy", "class_interval", "class_interval_simultaneous", "class_count",
        "confusion", "interval", "if_equal",
    ]  # fmt: skip
    assert set(pgd["interval"]) == set(pgd["if_equal"]) == set(METRICS)
    for metric in METRICS:
        low, high = pgd["interval"][metric]
        value = pgd["worst_class"]["accuracy"] if metric == "worst_class" else pgd[metric]
        assert low <= value <= high
        assert set(pgd["if_equal"][metric]) == {"expected", "range"}


def test_attacks_come_natural_first() -> None:
    assert list(summarize(_outcomes(), NAMES)["attacks"]) == ["natural", "pgd20"]


def test_the_file_has_null_and_the_same_bytes_from_any_order_of_rows() -> None:
    text = metrics_bytes(_outcomes(), NAMES)
    shuffled = Outcomes(_outcomes().frame.sample(frac=1, random_state=1))
    assert metrics_bytes(shuffled, NAMES) == text
    assert "NaN" not in text
    found = json.loads(text)["attacks"]["pgd20"]
    assert found["class_accuracy"][3] is None
    assert found["class_interval"][3] == found["class_interval_simultaneous"][3] == [None, None]


def test_a_run_knows_its_class_names() -> None:
    run = Run("r", {"dataset": {"class_names": list(NAMES), "num_classes": 4}}, _outcomes())
    assert metrics_bytes(run) == metrics_bytes(_outcomes(), NAMES)
    with pytest.raises(BadInput, match="class_names"):
        summarize(_outcomes())


def test_a_class_at_zero_and_a_model_at_zero_are_numbers() -> None:
    """Nothing divides by a zero accuracy: only NSD is undefined, with everything broken."""
    index, wrong = np.arange(11), [(y + 1) % 4 for y in LABELS]
    table = Outcomes.of_columns("pgd20", index=index, label=LABELS, prediction=wrong)
    found = json.loads(metrics_bytes(table, NAMES))["attacks"]["pgd20"]
    assert found["average"] == found["std"] == found["gap"] == found["worst_class"]["accuracy"] == 0.0
    assert found["normalized_std"] is None
    assert found["interval"]["worst_class"][0] == 0.0
    assert found["interval"]["worst_class"][1] > 0.0


def test_labels_outside_the_names_are_refused() -> None:
    with pytest.raises(BadInput):
        summarize(_outcomes(), NAMES[:2])


def test_metrics_load_without_torch() -> None:
    code = (
        "import sys\n"
        "class NoTorch:\n"
        "    def find_spec(self, name, *rest):\n"
        "        assert name.split('.')[0] not in ('torch', 'torchvision'), name\n"
        "sys.meta_path.insert(0, NoTorch())\n"
        "import fairbench\n"
        "fairbench.metrics.summarize, fairbench.metrics.compare_runs"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
