"""TorchScript archives and torch.export files: programs, loaded only when a person says that they trust them."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from fairbench.errors import BadInput


class Program(nn.Module):
    """A loaded torch.export program; hidden from `modules()`, since it refuses eval() and train()."""

    def __init__(self, call: Any) -> None:
        super().__init__()
        self._call = (call,)

    def forward(self, x: Tensor) -> Tensor:
        """Return what the program returns for (B, C, H, W) pixels."""
        result: Tensor = self._call[0](x)
        return result


def load_program(path: Path, kind: Literal["torchscript", "export"], device: torch.device) -> nn.Module:
    """Load a trusted program.

    Raises:
        BadInput: it cannot be loaded.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # both formats announce changes that the person cannot act on here
            if kind == "torchscript":
                script = torch.jit.load(str(path), map_location=device)  # type: ignore[no-untyped-call]
                assert isinstance(script, nn.Module)
                return script.eval()
            exported = torch.export.load(str(path))
            if device.type != "cpu":
                from torch.export.passes import move_to_device_pass

                exported = move_to_device_pass(exported, device)
            return Program(exported.module())
    except Exception as error:  # the loaders raise nearly anything
        reason = " ".join(str(error).split())[:160] or type(error).__name__
        raise BadInput(f"the program {str(path)[:200]} cannot be loaded ({reason}); save it again.") from error
