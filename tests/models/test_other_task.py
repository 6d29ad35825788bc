"""A data set that a checkpoint was not trained for is named as such, and not as a wrong architecture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fairbench.data import load_dataset
from fairbench.errors import BadInput
from fairbench.models import build_model
from fairbench.models.checkpoint import save_checkpoint
from fairbench.models.load import load_checkpoint
from fairbench.models.other_task import refuse_other_task
from fairbench.models.registry import Shape

CNN: dict[str, Any] = {"architecture": "small-cnn", "dataset": "digits", "shape": [1, 8, 8], "num_classes": 10}
RESNET: dict[str, Any] = {"architecture": "resnet18", "dataset": "cifar10", "shape": [3, 32, 32], "num_classes": 10}


@pytest.mark.parametrize(
    ("sidecar", "num_classes", "shape"),
    [
        (CNN, 10, (1, 28, 28)),
        (CNN, 7, (1, 8, 8)),
        (RESNET, 10, (1, 32, 32)),
        (RESNET, 100, (3, 32, 32)),
        ({"num_classes": 10}, 100, (3, 32, 32)),
    ],
)
def test_what_cannot_fit_is_refused(sidecar: dict[str, Any], num_classes: int, shape: Shape) -> None:
    with pytest.raises(BadInput, match=r"was trained on .*, but the data set asked for is other "):
        refuse_other_task("a.pt", sidecar, "other", num_classes, shape)


@pytest.mark.parametrize(
    ("sidecar", "num_classes", "shape"),
    [
        (CNN, 10, (1, 8, 8)),
        (RESNET, 10, (3, 96, 96)),  # STL-10: its weights do not depend on the size
        ({**CNN, "kept_classes": [0, 1], "num_classes": 2}, 10, (1, 8, 8)),  # asked about the classes that it has
        (CNN, None, None),
        ({}, 10, (1, 28, 28)),
        (None, 10, (1, 28, 28)),
    ],
)
def test_what_may_fit_is_not(sidecar: dict[str, Any] | None, num_classes: int | None, shape: Shape | None) -> None:
    refuse_other_task("a.pt", sidecar, "other", num_classes, shape)


def test_loading_names_both_data_sets(tmp_path: Path) -> None:
    path = save_checkpoint(tmp_path / "a.pt", build_model("small-cnn", num_classes=10, shape=(1, 8, 8)), CNN)
    assert load_checkpoint(path, dataset=load_dataset("digits")).num_classes == 10
    with pytest.raises(BadInput) as caught:
        load_checkpoint(path, dataset="mnist")
    assert str(caught.value) == (
        "a.pt was trained on digits (images of 1x8x8, 10 classes), but the data set asked for is mnist (images of "
        "1x28x28, 10 classes); use the data set that it was trained on, or another checkpoint."
    )
