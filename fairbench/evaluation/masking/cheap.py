"""The probes that cost a few forwards and backwards of some images: `eval` looks through them, too.

They come before any attack, and what they find stands in the run's flags beside what its rows show.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn

from fairbench.data.dataset import Dataset, to_unit
from fairbench.evaluation.blocks import check_pixels
from fairbench.evaluation.masking import forwards
from fairbench.evaluation.masking.gradients import gradient_flags
from fairbench.evaluation.masking.target import Target
from fairbench.evaluation.natural_accuracy import stratified
from fairbench.threat import Threat

#: Images of a check where the person names no number: about as many of each class as of any other.
IMAGES = 200
Probe = Callable[[], list[dict[str, Any]]]


def cheap_probes(target: Target) -> dict[str, Probe]:
    """Return the probes by what they look at."""
    return {
        "batch size": lambda: forwards.batch_size(target),
        "constant logits": lambda: forwards.constant_logits(target),
        "optimisation at inference": lambda: forwards.optimises_at_inference(target),
        "gradients": lambda: gradient_flags(target),
    }


def cheap_flags(
    model: nn.Module, dataset: Dataset, threat: Threat, *, batch_size: int, seed: int, device: torch.device
) -> list[dict[str, Any]]:
    """Return the flags of 200 of the images, as equally spread over classes as possible; none at radius 0.

    Args:
        model: frozen, in eval mode, without noise of its own.
        dataset: the images of the evaluation.
        threat: norm and radius.
        batch_size: images per forward.
        seed: of all noise.
        device: where the model is.

    Raises:
        Refused: NaN or infinite logits.
    """
    if threat.eps == 0:
        return []
    chosen = dataset.take(stratified(dataset, IMAGES), selection=f"{IMAGES} spread over the classes")
    target = target_of(model, chosen, threat, batch_size=batch_size, seed=seed, device=device)
    return [flag for probe in cheap_probes(target).values() for flag in probe()]


def target_of(
    model: nn.Module, dataset: Dataset, threat: Threat, *, batch_size: int, seed: int, device: torch.device
) -> Target:
    """Return what the probes look at: all images of `dataset`, in memory.

    Raises:
        Refused: "pixel-range".
    """
    x = to_unit(dataset.pixels(np.arange(len(dataset))), device)
    check_pixels(x, dataset.name)
    y, index = (torch.from_numpy(values).to(device) for values in (dataset.y, dataset.index))
    return Target(model, x, y, index, threat, batch_size, seed)
