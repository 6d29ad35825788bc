"""Import and build every Linf and L2 definition of RobustBench's zoo, without weights.

Networks are built on the `meta` device, which holds no numbers. What needs numbers while it is built (an orthogonal
layer) is built on the CPU, one after the other. Prints one line per definition and exits 1 if one fails.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from fairbench.models.zoo_robustbench import build, definitions, files, num_classes, preprocessing, robustbench


class _NumbersOnMeta(TorchFunctionMode):
    """A number asked of a tensor without numbers is 0: drop rates and lines that are printed, no shapes."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is torch.Tensor.item and args[0].is_meta:
            return 0.0
        if func is torch.Tensor.tolist and args[0].is_meta:
            return torch.zeros(args[0].shape, device="cpu").tolist()
        return func(*args, **(kwargs or {}))


def main() -> int:
    failures, begun = [], time.monotonic()
    with robustbench() as utils:
        for definition in definitions(utils):
            where = "meta"
            try:
                try:
                    with torch.device("meta"), _NumbersOnMeta():
                        network = build(utils, definition)
                except (RuntimeError, NotImplementedError):
                    where = "cpu"
                    network = build(utils, definition)
                wanted = files(utils, definition)
                parameters = sum(parameter.numel() for parameter in network.parameters())
                print(
                    f"{definition}  {parameters / 1e6:.1f} M parameters on {where}, {num_classes(utils, definition)} "
                    f"classes, {len(wanted)} file(s)",
                    file=sys.__stdout__,
                )
                del network
            except Exception as error:  # the point of this script is the list
                failures.append(f"{definition}: {type(error).__name__}: {' '.join(str(error).split())[:150]}")
            try:
                preprocessing(utils, definition)
            except ValueError as error:
                print(f"  note: {error}", file=sys.__stdout__)
        count = len(definitions(utils))
    for failure in failures:
        print(f"FAILED {failure}")
    print(f"{count - len(failures)} of {count} definitions built in {time.monotonic() - begun:.0f} s")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
