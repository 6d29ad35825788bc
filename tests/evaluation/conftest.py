"""A small network and a data set on which attacks break some samples and not others."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest
from torch import nn

from fairbench.data.dataset import ArrayDataset
from fairbench.threat import Threat

SMALL = runpy.run_path(str(Path(__file__).with_name("small_run.py")), run_name="small_run")


@pytest.fixture
def model() -> nn.Module:
    return SMALL["small_network"]()


@pytest.fixture
def dataset(model: nn.Module) -> ArrayDataset:
    return SMALL["small_dataset"](model)


@pytest.fixture
def threat() -> Threat:
    return Threat.parse("Linf", "0.1")
