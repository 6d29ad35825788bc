"""What rounding does in float32: ours against the original, and our fast paths against our plain one, on real networks.

`benchmarks/autoattack_flips.py` counts and prints; here its counts are held against those of the original between two
memory layouts, part by part.
"""

from __future__ import annotations

import importlib
from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def flips(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(BENCHMARKS)
    return importlib.import_module("autoattack_flips")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "norm", "eps"),
    [
        ("mnist_fgsm", "Linf", 0.3), ("mnist_pgd", "Linf", 0.3), ("cifar10_resnet2b", "Linf", 2 / 255),
        ("mnist_fgsm", "L2", 1.5), ("cifar10_cnn", "L2", 0.25),
    ],
)  # fmt: skip
def test_no_more_flips_than_the_original_between_layouts(flips, real_checkpoint, name, norm, eps):
    model, x, y = real_checkpoint(name, 60)
    options = Namespace(norm=norm, queries=0, steps=100, targets=9)
    for part in flips.PARTS:
        found = flips.flips_of(part, model, x, y, eps, options)
        print(part, found)
        assert found.broken
        assert found.plain <= found.layouts, part
        assert found.fast <= found.layouts, part
