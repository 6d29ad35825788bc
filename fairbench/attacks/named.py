"""Attacks by where they are, so that tables of names need not load torch."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor


def named_function(place: str) -> Callable[..., Tensor]:
    """Return the attack at "module:function" of this package: "apgd:apgd_targeted"."""
    module, _, name = place.partition(":")
    function: Any = getattr(importlib.import_module(f"fairbench.attacks.{module}"), name)
    return function  # type: ignore[no-any-return]
