"""What the Square attack draws: the size of its squares, where they lie, and the L2 and L1 patterns in them.

Shape key: n samples, s side of a square in pixels.
"""

from __future__ import annotations

import functools
import math

import torch
from torch import Tensor

from fairbench.threat import Norm

#: Up to which query (of 10,000) the share of the image that a square covers is halved how often.
_HALVINGS = ((10, 0), (50, 1), (200, 2), (500, 3), (1000, 4), (2000, 5), (4000, 6), (6000, 7), (8000, 8))


def covered_share(query: int, queries: int, *, first: float, rescale: bool) -> float:
    """Return the share of the image that a square covers at a query (0 is the first).

    Args:
        query: its number.
        queries: how many there will be.
        first: the share at the beginning.
        rescale: whether the schedule, made for 10,000 queries, is stretched to `queries`. AutoAttack does not.
    """
    place = int(query / queries * 10000) if rescale else query
    for last, halvings in _HALVINGS:
        if place <= last:
            return first * 0.5**halvings
    return first / 512


def square_side(share: float, height: int, width: int, norm: Norm) -> int:
    """Return the side of a square that covers a share of the image; in L2 and L1 odd and at least 3, if it fits."""
    side = round(math.sqrt(share * height * width))
    if norm == "Linf":
        return min(max(side, 1), height, width)
    side = max(side, 3)
    return min(side + 1 - side % 2, height, width)


def corners(draws: Tensor, sides: Tensor, height: int, width: int, *, reach_last: bool) -> Tensor:
    """Return the flat place of squares' first pixels, from uniform draws.

    The original's squares never touch the last row and column (nor do those of the paper's code): a place is drawn
    below size - side. With `reach_last` they do.

    Args:
        draws: (..., 2) in [0, 1), down and across.
        sides: of the squares in pixels; broadcasts against the draws without their last dimension.
        height: H.
        width: W.
        reach_last: see above.

    Returns:
        (...) int64.
    """
    sizes = torch.tensor([height, width], device=draws.device)
    count = (sizes - sides[..., None] + int(reach_last)).clamp_min(1)
    place = (draws * count).long().minimum(count - 1)
    return place[..., 0] * width + place[..., 1]


def pixels(corner: Tensor, side: int, width: int) -> Tensor:
    """Return the flat places of the squares' pixels, (n, 1, s * s), from their corners (n,)."""
    return corner[:, None, None] + _steps(side, width, corner.device)


@functools.lru_cache(maxsize=256)
def _steps(side: int, width: int, device: torch.device) -> Tensor:
    steps = torch.arange(side, device=device)
    return (steps[:, None] * width + steps).flatten()


def in_square(flat: Tensor, corner: Tensor, side: int, width: int) -> Tensor:
    """Return which flat places (n, 1, m) lie in the squares that begin at `corner` (n,)."""
    corner = corner[:, None, None]
    down, across = flat // width - corner // width, flat % width - corner % width
    return (down >= 0) & (down < side) & (across >= 0) & (across < side)


@functools.cache
def pattern(side: int, norm: Norm) -> Tensor:
    """Return the two orientations of an L2 or L1 square of norm 1: two opposite bumps, (2, s * s)."""
    top = side // 2
    bumps = torch.cat((_bump(top, side, norm), -_bump(side - top, side, norm)))
    bumps = bumps / _size(bumps, norm)
    return torch.stack((bumps, bumps.t())).flatten(1)


def _bump(height: int, width: int, norm: Norm) -> Tensor:
    """Return a bump that falls off in square rings around the middle, of norm 1.

    Each ring k >= 0 adds 1 / (k + 1)^2 (L2) or 1 / (k + 1)^4 (L1) to all pixels within it.
    """
    if height == 0:
        return torch.zeros(0, width)
    rings = max(height // 2, width // 2) + 1
    steps = 1 / torch.arange(1, rings + 1, dtype=torch.float64) ** (2 if norm == "L2" else 4)
    within = steps.flip(0).cumsum(0).flip(0)
    down = (torch.arange(height) - height // 2).abs()
    across = (torch.arange(width) - width // 2).abs()
    bump = within[torch.maximum(down[:, None], across[None])]
    return (bump / _size(bump, norm)).float()


def _size(values: Tensor, norm: Norm) -> Tensor:
    return values.square().sum().sqrt() if norm == "L2" else values.abs().sum()


def tiles(height: int, width: int) -> tuple[int, list[tuple[int, int]]]:
    """Return the side and the corners of the tiles that the L2 and L1 starts consist of: about 5 x 5.

    On square images these are the original's, apart from tiles that would hang over the edge, where it stops with an
    error. Images of fewer than 5 pixels have tiles of one pixel; along a longer side there are as many as fit.
    """
    shorter = min(height, width)
    side = max(shorter // 5, 1)

    def along(size: int) -> range:
        margin = size - 5 * side if size == shorter else size % side
        return range(max(margin // 2, 0), size - side + 1, side)

    return side, [(top, left) for top in along(height) for left in along(width)]
