"""The Square attack's starts and proposals: in Linf in place, only where the square is; in L2 and L1 whole images.

Shape key: n samples that are left, C H W image, s side of a square.
"""

from __future__ import annotations

import torch
from torch import Tensor

from fairbench.attacks.attack_memory import laid_out, overwrite
from fairbench.attacks.norm_ball import l1_projection, length, spread, unit
from fairbench.attacks.square_shapes import in_square, pattern, pixels, tiles
from fairbench.sample_random import SampleRandom
from fairbench.threat import Norm


def _flat(images: Tensor) -> Tensor:
    """Return a view (n, C, H W), in whatever layout the images are."""
    return images.view(*images.shape[:2], -1)


class LinfProposals:
    """Squares of one sign per channel, at the edge of the Linf ball."""

    def __init__(self, low: Tensor, high: Tensor) -> None:
        self.low, self.high = low, high
        #: How many numbers a proposal draws: the corner (2), and a sign per channel.
        self.draws, self.squares = 2 + low.shape[1], 1
        self._undo: tuple[Tensor, Tensor, Tensor] | None = None

    @classmethod
    def around(cls, x: Tensor, eps: Tensor) -> LinfProposals:
        """Build the balls around x (n, C, H, W) with radii eps (n,)."""
        radius = spread(eps, x)
        return cls((x - radius).clamp_(min=0), (x + radius).clamp_(max=1))

    def at(self, rows: Tensor) -> LinfProposals:
        """Return those of some of the samples."""
        return LinfProposals(self.low[rows], self.high[rows])

    def start(self, random: SampleRandom) -> Tensor:
        """Return vertical stripes of width 1, one sign per sample, channel and column."""
        draws = random.uniform((self.low.shape[1], 1, self.low.shape[3]))
        return laid_out(torch.where(draws < 0.5, self.low, self.high), self.low)

    def propose(self, x_best: Tensor, draws: Tensor, corners: Tensor, side: int) -> Tensor:
        """Write one square per sample into `x_best` and return it; `settle` takes back those that failed.

        Every pixel of `x_best` lies within eps of x, so that 2 eps more or less always ends at the edge of the ball.

        Args:
            x_best: (n, C, H, W).
            draws: (n, 2 + C) uniform numbers.
            corners: (n, 1) flat places of the squares' first pixels.
            side: of the squares.
        """
        where = pixels(corners[:, 0], side, x_best.shape[3]).expand(-1, x_best.shape[1], -1)
        flat, low, high = (_flat(images) for images in (x_best, self.low, self.high))
        before = flat.gather(2, where)
        after = torch.where(draws[:, 2:, None] < 0.5, low.gather(2, where), high.gather(2, where))
        flat.scatter_(2, where, after)
        self._undo = where, before, after
        return x_best

    def settle(self, x_best: Tensor, x_new: Tensor, accepted: Tensor) -> None:
        """Take the squares back where they were not accepted (n,)."""
        assert self._undo is not None
        where, before, after = self._undo
        _flat(x_best).scatter_(2, where, torch.where(accepted[:, None, None], after, before))


class SpreadProposals:
    """Bumps that move the L2 (L1) budget of one square into another, then rescaled (projected) to norm eps."""

    def __init__(self, x: Tensor, eps: Tensor, norm: Norm) -> None:
        self.x, self.eps, self.norm = x, eps, norm
        #: How many numbers a proposal draws: two corners (4), whether to turn the bumps, and a sign per channel.
        self.draws, self.squares = 5 + x.shape[1], 2

    def at(self, rows: Tensor) -> SpreadProposals:
        """Return those of some of the samples."""
        return SpreadProposals(self.x[rows], self.eps[rows], self.norm)

    def start(self, random: SampleRandom) -> Tensor:
        """Return about 5 x 5 bumps, each turned and signed at random per sample (and channel)."""
        n, channels, height, width = self.x.shape
        side, corners = tiles(height, width)
        draws = random.uniform((len(corners), 1 + channels))
        delta = torch.zeros_like(self.x)
        for number, (top, left) in enumerate(corners):
            bumps = self._bumps(draws[:, number, 0], draws[:, number, 1:], side)
            delta[:, :, top : top + side, left : left + side] = bumps.reshape(n, channels, side, side)
        return self._onto_sphere(delta)

    def _bumps(self, turn: Tensor, signs: Tensor, side: int) -> Tensor:
        shapes = pattern(side, self.norm).to(self.x)[(turn > 0.5).long()]
        return shapes[:, None] * torch.where(signs < 0.5, -1.0, 1.0).to(self.x)[:, :, None]

    def _onto_sphere(self, delta: Tensor) -> Tensor:
        if self.norm == "L2":
            return (self.x + unit(delta, "L2") * spread(self.eps, self.x)).clamp(0, 1)
        moved = self.x + delta
        return (moved + l1_projection(self.x, delta, self.eps * (1 - 1e-6))).clamp(0, 1)

    def _size(self, values: Tensor) -> Tensor:
        """Return the norm over the last dimension, kept."""
        if self.norm == "L2":
            return (values**2).sum(2, keepdim=True).sqrt()
        return values.abs().sum(2, keepdim=True)

    def propose(self, x_best: Tensor, draws: Tensor, corners: Tensor, side: int) -> Tensor:
        """Return new images: the second square is emptied, the first takes its budget and what is unused.

        Args:
            x_best: (n, C, H, W).
            draws: (n, 5 + C) uniform numbers.
            corners: (n, 2) flat places of the squares' first pixels.
            side: of the squares.
        """
        channels, _, width = x_best.shape[1:]
        where, other = (pixels(corners[:, k], side, width) for k in (0, 1))
        delta = x_best - self.x
        used = length(delta, self.norm)[:, None, None]
        flat = _flat(delta)
        here = flat.gather(2, where.expand(-1, channels, -1))
        there = flat.gather(2, other.expand(-1, channels, -1))
        there = torch.where(in_square(other, corners[:, 0], side, width), torch.zeros_like(there), there)
        budget = self._size(torch.cat((here, there), 2))
        bumps = self._bumps(draws[:, 4], draws[:, 5:], side) + here / (1e-12 + self._size(here))
        bumps = bumps / (1e-12 + self._size(bumps))
        eps = self.eps[:, None, None]
        if self.norm == "L2":
            bumps = bumps * ((eps**2 - used**2).clamp_min(0) / channels + budget**2).sqrt()
        else:
            bumps = bumps * ((eps - used).clamp_min(0) / channels + budget) * channels
        flat.scatter_(2, other.expand(-1, channels, -1), 0.0)
        flat.scatter_(2, where.expand(-1, channels, -1), bumps)
        return laid_out(self._onto_sphere(delta), x_best)

    def settle(self, x_best: Tensor, x_new: Tensor, accepted: Tensor) -> None:
        """Keep the new images where they were accepted (n,)."""
        overwrite(x_best, accepted, x_new)
