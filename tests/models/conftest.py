from __future__ import annotations

import pytest
from torch import nn

from fairbench.models import build_model


@pytest.fixture
def small() -> nn.Module:
    return build_model("small-cnn", num_classes=10, shape=(1, 8, 8))
