"""Flags that gradients show at the points where attacks begin: random ones on the sphere around each image.

Shape key: N images, n that are classified right, C H W image, K classes.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from fairbench.attacks.apgd import sphere_start
from fairbench.attacks.linf import input_gradient
from fairbench.evaluation.masking.decide import TOLERANCE, share_flags
from fairbench.evaluation.masking.target import Target
from fairbench.losses import cross_entropy, margin

#: Step of the finite differences in pixels: within it an honest network is as good as linear.
_STEP = 1 / 4096
#: Derivative and difference agree up to this factor.
_FACTOR = 1.25
#: A kink of a ReLU within the step makes a difference. Measured on 12 honest networks: at most 0.5 % of images.
_KINKS = 0.05
#: A difference below so many roundings of the logits measures nothing.
_ROUNDINGS = 100


def gradient_flags(target: Target) -> list[dict[str, Any]]:
    """Return the flags of zero, wrong and lost gradients."""
    rows = target.right.nonzero()[:, 0]
    if len(rows) == 0:
        return []
    seen = target.each(lambda piece: _look(target, piece), rows).cpu().numpy()
    zero, lost, wrong, measured = seen.T
    labels = target.labels[rows.cpu().numpy()]
    return [
        *share_flags(
            "zero-gradients", zero, labels, share=TOLERANCE,
            evidence="the gradient is zero or not finite on {hits} of {total} images, but their logits change",
        ),
        *share_flags(
            "saturated-logits", lost, labels, share=TOLERANCE,
            evidence="the cross-entropy has no gradient in float32 on {hits} of {total} images, but the margin has; "
            f"the median margin is {_median_margin(target):.3g}",
        ),
        *share_flags(
            "wrong-gradients", wrong[measured], labels[measured], share=_KINKS,
            evidence="gradient and finite differences disagree on {hits} of {total} images",
        ),
    ]  # fmt: skip


def _look(target: Target, rows: Tensor) -> Tensor:
    """Return (b, 4) bool: gradient is zero, the cross-entropy's is lost, it is wrong, and whether that was measured."""
    x, y = target.x[rows], target.y[rows]
    start = sphere_start(target.threat.norm)(x, target.threat.eps, target.random("start", rows))
    # Away from 0 and 1, so that both ends of the difference are images.
    centre = start * (1 - 4 * _STEP) + 2 * _STEP
    gradient, logits = input_gradient(target.model, centre, lambda logits, _: margin(logits, y))
    loss_gradient, _ = input_gradient(target.model, centre, lambda logits, _: cross_entropy(logits, y))
    # A network can be flat around an image; a masked one moves without saying so.
    moves = (logits - target.natural[rows]).abs().amax(1) > 0
    zero = ~_useful(gradient) & moves
    lost = _useful(gradient) & ~_useful(loss_gradient)

    rival = logits.scatter(1, y[:, None], -torch.inf).argmax(1)
    ends = [_between(target, centre + sign * _STEP * gradient.sign(), y, rival) for sign in (1, -1)]
    found = ends[0] - ends[1]
    expected = 2 * _STEP * gradient.double().abs().flatten(1).sum(1)
    rounding = torch.finfo(logits.dtype).eps * logits.double().abs().amax(1)
    measured = _useful(gradient) & (expected > _ROUNDINGS * rounding)
    wrong = ~((found < expected * _FACTOR) & (found > expected / _FACTOR))
    return torch.stack([zero, lost, wrong & measured, measured], 1)


def _between(target: Target, x: Tensor, y: Tensor, rival: Tensor) -> Tensor:
    """Return the label's logit minus that of a fixed rival, (b,) float64."""
    logits = target.logits(x, "images moved along their gradient").double()
    return (logits.gather(1, y[:, None]) - logits.gather(1, rival[:, None]))[:, 0]


def _useful(gradient: Tensor) -> Tensor:
    flat = gradient.flatten(1)
    return torch.isfinite(flat).all(1) & (flat != 0).any(1)


def _median_margin(target: Target) -> float:
    return float(margin(target.natural, target.y)[target.right].median())
