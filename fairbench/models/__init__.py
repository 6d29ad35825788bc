"""Architectures, normalisation inside the network, checkpoints and their sidecars.

Names are imported when they are first used: to see what a file is, torch is not needed.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fairbench.models.normalize import Normalized, bare, normalized, parse_normalize
    from fairbench.models.registry import MODELS, ModelSpec, build_model

_HOMES = {
    "MODELS": "registry",
    "ModelSpec": "registry",
    "Normalized": "normalize",
    "bare": "normalize",
    "build_model": "registry",
    "normalized": "normalize",
    "parse_normalize": "normalize",
}

__all__ = ["MODELS", "ModelSpec", "Normalized", "bare", "build_model", "normalized", "parse_normalize"]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"fairbench.models.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'fairbench.models' has no attribute {name!r}")
