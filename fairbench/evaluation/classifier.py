"""The last layer of a network: the linear map whose rows are the classes' weights.

Shape key: B batch, C H W image, K classes, D inputs of the last layer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn


def find_classifier(model: nn.Module, x: Tensor) -> tuple[str, nn.Linear] | None:
    """Return name and module of the linear layer whose output *is* the logits; None where there is none.

    It is found by running one forward of `x`, (B, C, H, W), and not by its name or place: a layer that is followed by
    anything (a scale, a softmax, an average over crops) is not it, because its rows are then not the classes' weights.
    """
    seen: list[tuple[str, nn.Linear, Tensor]] = []

    def watch(name: str) -> Any:
        def hook(module: nn.Module, inputs: object, output: object) -> None:
            if isinstance(module, nn.Linear) and isinstance(output, Tensor):
                seen.append((name, module, output.detach()))

        return hook

    handles = [
        module.register_forward_hook(watch(name)) for name, module in model.named_modules() if type(module) is nn.Linear
    ]
    # A network that draws random numbers must not move the caller's generators.
    devices = range(torch.cuda.device_count()) if torch.cuda.is_available() else ()
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=devices):
            logits = model(x)
    finally:
        for handle in handles:
            handle.remove()
    if not isinstance(logits, Tensor):
        return None
    found = [(name, module) for name, module, output in seen if torch.equal(output, logits)]
    return found[-1] if found else None


def classifier_record(model: nn.Module, x: Tensor) -> dict[str, Any]:
    """Return the content of classifier.json: {"layer", "weight_norm", "bias", "reason"}.

    weight_norm: K Euclidean norms of the rows, in float64; bias: K numbers, null where the layer has none. All null and
    a reason where no last layer was found.
    """
    found = find_classifier(model, x)
    if found is None:
        reason = "no linear layer of this network gives the logits themselves"
        return {"schema": 1, "layer": None, "weight_norm": None, "bias": None, "reason": reason}
    name, layer = found
    norm = layer.weight.detach().double().norm(dim=1).cpu().tolist()
    bias = None if layer.bias is None else layer.bias.detach().double().cpu().tolist()
    return {"schema": 1, "layer": name, "weight_norm": norm, "bias": bias, "reason": None}


def with_gaps(record: Mapping[str, Any], kept: Sequence[int], num_classes: int) -> dict[str, Any]:
    """Return the record of a network without some classes, in the original numbers; the others are null."""
    place = {label: row for row, label in enumerate(kept)}

    def widened(values: Sequence[float] | None) -> list[float | None] | None:
        return None if values is None else [values[place[c]] if c in place else None for c in range(num_classes)]

    return {**record, "weight_norm": widened(record["weight_norm"]), "bias": widened(record["bias"])}
