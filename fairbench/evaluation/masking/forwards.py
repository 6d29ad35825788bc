"""Flags that forward passes show: randomness, dependence on the batch, constants, optimisation.

Shape key: N images, K classes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from fairbench.attacks.apgd import sphere_start
from fairbench.evaluation.masking.decide import share_flags
from fairbench.evaluation.masking.registry import flag
from fairbench.evaluation.masking.target import Target, batches
from fairbench.evaluation.own_gradients import asks_for_gradients
from fairbench.evaluation.trust import Trust

#: Rounding moves float32 logits by about 1e-6 of the largest, and by 1e-5 in deep networks; `eval` refuses from 1e-2.
_BATCH_CHANGE = 1e-3
_REPEATS = 4


def check_repeats(target: Target, trust: Trust) -> None:
    """Forward all images some more times: randomness that is rare does not show in the evaluator's two forwards.

    Raises:
        Refused: "non-deterministic". Probes of a model that is random on purpose would measure its noise.
    """
    largest = float(target.natural.abs().max())
    change = max(float((target.logits(target.x) - target.natural).abs().max()) for _ in range(_REPEATS))
    if not change <= 1e-5 * largest + 1e-7:
        trust.refuse(
            "non-deterministic",
            f"{_REPEATS + 1} forwards of {len(target.y)} images differ by {change:.3g} in their logits",
            "switch the model's randomness off for a check; 'fairbench eval --allow-random' evaluates it as it is",
        )


def batch_size(target: Target) -> list[dict[str, Any]]:
    """Compare each image's logits in batches of 1, 2 and 7 with those in the usual batch.

    An image counts where they differ by over 1e-3 of the largest logit; one is enough, since none may.
    """
    count = min(len(target.y), 28)
    x, usual = target.x[:count], target.natural[:count]
    limit = _BATCH_CHANGE * float(usual.abs().max()) + 1e-6
    with torch.no_grad():
        change = torch.stack([
            (torch.cat([target.model(piece) for piece in batches(x, size)]) - usual).abs().amax(1) for size in (1, 2, 7)
        ]).amax(0)  # fmt: skip
    hits = int((~(change <= limit)).sum())
    if not hits:
        return []
    worst = float(change.max())
    return [
        flag("batch-size", f"the logits of {hits} of {count} images change by up to {worst:.3g} with the batch size")
    ]


def constant_logits(target: Target) -> list[dict[str, Any]]:
    """Count images whose logits equal those of the image before, or their own under noise: more than half is broken.

    A few may: in a verified network all units of a layer can be off (5 of 63 images on one of 12 honest networks).
    """
    same = _same(target.natural, target.natural.roll(1, 0))
    same &= ~_same(target.x.flatten(1), target.x.roll(1, 0).flatten(1))
    noisy = sphere_start(target.threat.norm)(target.x, target.threat.eps, target.random("flat"))
    same |= _same(target.natural, target.logits(noisy, "noisy images"))
    return share_flags(
        "constant-logits", same, np.zeros(len(same), dtype=np.int64), share=0.5,
        evidence="{hits} of {total} images have the logits of another image, or keep theirs under noise of the radius",
    )  # fmt: skip


def optimises_at_inference(target: Target) -> list[dict[str, Any]]:
    """Forward one image without gradients, and see whether anything in the model asks for one."""
    asked = asks_for_gradients(target.model, target.x[:1])
    if asked is None:
        return []
    return [flag("optimises-at-inference", f"its forward pass turns gradients on (in {asked})")]


def _same(a: Tensor, b: Tensor) -> np.ndarray[Any, np.dtype[np.bool_]]:
    return np.asarray((a == b).all(1).cpu().numpy())
