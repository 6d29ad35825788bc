"""Does a model compute gradients in its own forward pass (purification, optimisation at inference)?"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode


class _Watch(TorchFunctionMode):
    """Notices tensors that require a gradient; the parameters are frozen and gradients are off, so none should."""

    seen: str | None = None

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if self.seen is None and isinstance(result, Tensor) and result.requires_grad:
            self.seen = getattr(func, "__name__", str(func))
        return result


def asks_for_gradients(model: nn.Module, x: Tensor) -> str | None:
    """Return the first operation of a forward pass on `x` whose result requires a gradient, None where none does.

    `model` must be frozen, and is called without gradients: only it can have asked.
    """
    watch = _Watch()
    with torch.no_grad(), watch:
        model(x)
    return watch.seen
