"""How APGD moves inside a ball, and how it adapts its step: what differs between Linf and L2, and L1.

Linf, L2: Croce & Hein, ICML 2020, arXiv 2003.01690, Algorithm 1 (momentum 0.75, step 2 eps, halved at checkpoints).
L1: Croce & Hein, ICML 2021, arXiv 2103.01208, Algorithm 2 (sparse steps whose sparsity follows the best point).

Shape key: b samples that are left, C H W image, D pixels = C H W.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol, Self

import torch
from torch import Tensor

from fairbench.attacks.attack_memory import RowState
from fairbench.attacks.norm_ball import l1_projection, length, spread, unit
from fairbench.threat import Norm


class Ball(Protocol):
    """The ball around some images, and APGD's step in it."""

    def at(self, rows: Tensor) -> Ball:
        """Return the balls of some of the samples."""

    def project(self, point: Tensor) -> Tensor:
        """Return a point of the ball and the box near `point`; `point` may be overwritten."""

    def step(self, x_adv: Tensor, x_before: Tensor, gradient: Tensor, pace: Pace, *, first: bool) -> Tensor:
        """Return the next iterate. `x_before` is the iterate before `x_adv`; the `first` step has no momentum."""


class Pace(Protocol):
    """Each sample's step size, and when it changes."""

    step_size: Tensor

    def observe(self, loss: Tensor, best: Tensor, x_best: Tensor, x: Tensor) -> Tensor | None:
        """Take note of an iterate's loss; at a checkpoint return which samples go back to their best point, (b,)."""

    def keep(self, rows: Tensor) -> None:
        """Keep only some of the samples."""

    def saved(self, name: str) -> dict[str, Tensor]:
        """Return copies of everything, on the CPU."""


def _with_momentum(ball: Ball, x_adv: Tensor, x_before: Tensor, proposal: Tensor, *, first: bool) -> Tensor:
    """Return 3/4 of the way to the proposal plus 1/4 of the last move, projected (all of the way at first)."""
    share = 1.0 if first else 0.75
    point = proposal.sub_(x_adv).mul_(share).add_(x_adv)
    if not first:
        point.add_((x_adv - x_before).mul_(1 - share))
    return ball.project(point)


class LinfBall:
    """The box max(0, x - eps) .. min(1, x + eps)."""

    def __init__(self, low: Tensor, high: Tensor) -> None:
        self.low, self.high = low, high

    @classmethod
    def around(cls, x: Tensor, eps: Tensor) -> LinfBall:
        """Build the balls around x (b, C, H, W) with radii eps (b,)."""
        radius = spread(eps, x)
        return cls((x - radius).clamp_(min=0), (x + radius).clamp_(max=1))

    def at(self, rows: Tensor) -> LinfBall:
        """Return the balls of some of the samples."""
        return LinfBall(self.low[rows], self.high[rows])

    def project(self, point: Tensor) -> Tensor:
        """Return the nearest point, in place."""
        return torch.clamp(point, self.low, self.high, out=point)

    def step(self, x_adv: Tensor, x_before: Tensor, gradient: Tensor, pace: Pace, *, first: bool) -> Tensor:
        """Follow the gradient's sign."""
        proposal = self.project(gradient.sign().mul_(spread(pace.step_size, x_adv)).add_(x_adv))
        return _with_momentum(self, x_adv, x_before, proposal, first=first)


class L2Ball:
    """The L2 ball in the pixel box."""

    def __init__(self, x: Tensor, eps: Tensor) -> None:
        self.x, self.eps = x, eps

    def at(self, rows: Tensor) -> L2Ball:
        """Return the balls of some of the samples."""
        return L2Ball(self.x[rows], self.eps[rows])

    def project(self, point: Tensor) -> Tensor:
        """Return `point` pulled towards x onto the ball, then clamped to the box, which cannot leave the ball."""
        delta = point - self.x
        size = length(delta, "L2")
        delta.div_(spread(size + 1e-12, delta)).mul_(spread(torch.minimum(self.eps, size), delta))
        return delta.add_(self.x).clamp_(0, 1)

    def step(self, x_adv: Tensor, x_before: Tensor, gradient: Tensor, pace: Pace, *, first: bool) -> Tensor:
        """Follow the gradient's direction."""
        proposal = self.project(unit(gradient, "L2").mul_(spread(pace.step_size, x_adv)).add_(x_adv))
        return _with_momentum(self, x_adv, x_before, proposal, first=first)


class L1Ball:
    """The L1 ball in the pixel box."""

    def __init__(self, x: Tensor, eps: Tensor) -> None:
        self.x, self.eps = x, eps

    def at(self, rows: Tensor) -> L1Ball:
        """Return the balls of some of the samples."""
        return L1Ball(self.x[rows], self.eps[rows])

    def project(self, point: Tensor) -> Tensor:
        """Return the nearest point of ball and box."""
        delta = point - self.x
        return self.x + delta + l1_projection(self.x, delta, self.eps)

    def step(self, x_adv: Tensor, x_before: Tensor, gradient: Tensor, pace: Pace, *, first: bool) -> Tensor:
        """Follow the sign of the gradient's largest entries, as many as the pace allows; no momentum."""
        assert isinstance(pace, SparsePace)
        size = gradient.abs()
        count = size[0].numel()
        smallest = ((1.0 - pace.density) * count).clamp(0, count - 1).long()
        threshold = size.flatten(1).sort(1).values.gather(1, smallest[:, None])
        signs = (gradient * (size >= spread(threshold, gradient))).sign()
        move = spread(pace.step_size, x_adv) * signs / (spread(length(signs, "L1"), signs) + 1e-10)
        return self.project(x_adv + move)


@dataclass
class HalvingPace(RowState):
    """Halve a sample's step at a checkpoint where its loss rose too seldom, or its best loss stood still.

    `rises`, `loss`: since the last checkpoint. `stood`: whether the step was kept then.
    """

    step_size: Tensor
    rises: Tensor
    loss: Tensor
    best: Tensor
    halved: Tensor
    elapsed: int
    window: int
    shrink: int
    shortest: int
    rho: float

    @classmethod
    def begin(cls, eps: Tensor, loss: Tensor, *, steps: int, rho: float, first_loss: Tensor) -> Self:
        """Start with steps of 2 eps; `first_loss` is what the first iterate's loss is compared with."""
        return cls(
            step_size=2 * eps, rises=torch.zeros_like(loss), loss=first_loss, best=loss.clone(),
            halved=torch.ones_like(loss, dtype=torch.bool), elapsed=0, window=max(int(0.22 * steps), 1),
            shrink=max(int(0.03 * steps), 1), shortest=max(int(0.06 * steps), 1), rho=rho,
        )  # fmt: skip

    def observe(self, loss: Tensor, best: Tensor, x_best: Tensor, x: Tensor) -> Tensor | None:
        """Take note of an iterate's loss; at a checkpoint return which samples restart from their best."""
        self.rises = self.rises + (loss > self.loss)
        self.loss = loss
        self.elapsed += 1
        if self.elapsed < self.window:
            return None
        seldom = self.rises <= self.window * self.rho
        halve = seldom | (~self.halved & (self.best >= best))
        self.step_size = torch.where(halve, self.step_size / 2, self.step_size)
        self.rises, self.best, self.halved, self.elapsed = torch.zeros_like(loss), best.clone(), halve, 0
        self.window = max(self.window - self.shrink, self.shortest)
        return halve


@dataclass
class SparsePace(RowState):
    """L1's pace: the share of pixels that a step may change follows the best point's; the step shrinks by 1.5."""

    step_size: Tensor
    density: Tensor
    changed: Tensor
    largest: Tensor
    elapsed: int
    window: int

    @classmethod
    def begin(cls, eps: Tensor, x_adv: Tensor, x: Tensor, *, steps: int, sparse_start: bool) -> Self:
        """Start with steps of eps. A `sparse_start` sets the density; else it begins at a fifth of all pixels."""
        count = math.prod(x.shape[1:])
        changed = _changed_pixels(x_adv, x) if sparse_start else torch.full_like(eps, count)
        density = changed / count / 1.5 if sparse_start else torch.full_like(eps, 0.2)
        return cls(eps.clone(), density, changed, eps.clone(), elapsed=0, window=max(int(0.04 * steps), 1))

    def observe(self, loss: Tensor, best: Tensor, x_best: Tensor, x: Tensor) -> Tensor | None:
        """Take note of an iterate; at a checkpoint set density and steps and return which samples restart."""
        self.elapsed += 1
        if self.elapsed < self.window:
            return None
        changed = _changed_pixels(x_best, x)
        sparser = changed / self.changed < 0.95
        self.density = changed / math.prod(x.shape[1:]) / 1.5
        shrunk = torch.where(sparser, self.largest, self.step_size / 1.5)
        self.step_size = torch.minimum(torch.maximum(shrunk, self.largest / 10), self.largest)
        self.changed, self.elapsed = changed, 0
        return sparser


def _changed_pixels(x_adv: Tensor, x: Tensor) -> Tensor:
    return (x_adv != x).flatten(1).sum(1).to(x.dtype)


def ball_around(norm: Norm, x: Tensor, eps: Tensor) -> LinfBall | L2Ball | L1Ball:
    """Return the balls of a norm around x (b, C, H, W) with radii eps (b,)."""
    if norm == "Linf":
        return LinfBall.around(x, eps)
    return L2Ball(x, eps) if norm == "L2" else L1Ball(x, eps)
