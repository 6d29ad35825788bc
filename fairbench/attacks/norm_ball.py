"""Geometry of the Linf, L2 and L1 balls, as AutoAttack's parts use it.

The order of the floating-point operations follows the original AutoAttack (Croce & Hein, ICML 2020), so that with
equal gradients the iterates are equal to the last bit.

Shape key: B batch, C H W image. A radius is one number, or (B,) with one value per sample, in pixel units of [0, 1].
"""

from __future__ import annotations

import torch
from torch import Tensor

from fairbench.threat import Norm


def spread(values: Tensor, x: Tensor) -> Tensor:
    """Return (B,) values as (B, 1, 1, 1), so that they broadcast against x."""
    return values.reshape(-1, *[1] * (x.ndim - 1))


def radii(eps: float | Tensor, x: Tensor) -> Tensor:
    """Return `eps` as (B,) of x's type: one number for all samples, or one per sample."""
    values = torch.as_tensor(eps, dtype=torch.float64, device=x.device)
    return values.to(x.dtype).expand(len(x)).clone()


def length(delta: Tensor, norm: Norm) -> Tensor:
    """Return each sample's norm, (B,)."""
    pixels = tuple(range(1, delta.ndim))
    if norm == "Linf":
        return delta.abs().amax(pixels)
    return (delta**2).sum(pixels).sqrt() if norm == "L2" else delta.abs().sum(pixels)


def unit(direction: Tensor, norm: Norm) -> Tensor:
    """Return each sample's direction scaled to norm 1; a zero direction stays zero."""
    return direction / (spread(length(direction, norm), direction) + 1e-12)


def l1_projection(x: Tensor, delta: Tensor, eps: Tensor) -> Tensor:
    """Return the change that moves x + delta to its nearest point in the L1 ball around x and in the pixel box.

    The solution shrinks every |delta_i| by one common threshold, and further where the box asks for it (Croce &
    Hein, ICML 2021, arXiv 2103.01208, Proposition 2.1): |delta_i| falls by clip(threshold, excess_i, |delta_i|) with
    excess_i = max(0, how far x_i + delta_i lies outside the box). What is removed in all is piecewise linear in the
    threshold; its breakpoints are all excess_i and |delta_i|, sorted once.

    Args:
        x: (B, C, H, W) centre, in [0, 1].
        delta: (B, C, H, W) perturbation.
        eps: (B,) radius.

    Returns:
        (B, C, H, W): add it to delta.
    """
    centre, flat = x.flatten(1), delta.flatten(1)
    magnitude = flat.abs()
    excess = torch.minimum(1 - centre - flat, centre + flat).neg().clamp_min(0)
    overshoot = magnitude.sum(1) - eps  # how much must go in all
    # Past a breakpoint one more pixel shrinks with the threshold (excess), or one fewer (it has reached zero).
    breakpoints, order = torch.sort(torch.cat((excess, magnitude), 1), dim=1)
    slope = torch.where(order < flat.shape[1], 1.0, -1.0).to(flat).cumsum(1)
    growth = (breakpoints.diff(dim=1) * slope[:, :-1]).cumsum(1)
    removed = excess.sum(1, keepdim=True) + torch.cat((torch.zeros_like(growth[:, :1]), growth), 1)
    segment = ((removed < overshoot[:, None]).sum(1) - 1).clamp_min(0)[:, None]
    start, height, rise = (values.gather(1, segment)[:, 0] for values in (breakpoints, removed, slope))
    threshold = start + (overshoot - height) / rise.clamp_min(1)
    # Where clipping to the box is enough to fit, nothing else is removed.
    threshold = torch.where(overshoot > excess.sum(1), threshold, torch.zeros_like(threshold))
    removal = torch.minimum(torch.maximum(excess, threshold[:, None]), magnitude)
    return (-flat.sign() * removal).reshape(x.shape)
