"""The nearest point of a hyperplane inside the pixel box, in the Linf, L2 and L1 norms: FAB's inner problem.

    minimise ||d||   subject to   w . (t + d) = b   and   0 <= t + d <= 1

(Croce & Hein, "Minimally distorted adversarial examples with a fast adaptive boundary attack", ICML 2020, arXiv
1907.02044, section 2.3 and appendix A). Every pixel moves towards the plane, and none beyond the box; where the box
ends before the plane, all pixels go as far as they can. With need = |w . t - b| and room_i the distance of pixel i to
the side of the box that it moves to, d is given by one number, the level:

    Linf   |d_i| = min(level, room_i)
    L2     |d_i| = min(level |w_i|, room_i)         with sum_i |w_i| |d_i| = need
    L1     |d_i| = room_i where |w_i| > level, 0 where it is smaller, a share of room_i in between

For Linf and L2 the sum is concave, increasing and piecewise linear in the level, so that Newton's method from 0 climbs
to the solution without overshooting and ends there exactly; each step multiplies (what is missing) x (slope) by at most
a quarter (as in Dinkelbach's method), and a handful of steps is usual. It needs no sort over all pixels, which is what
the authors' code spends most of its time on for small networks. For L1 the sum is a step function of the level, and
bisection over the 31 bits of a positive float finds the step.

Shape key: n samples, P points per sample, D pixels.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from fairbench.threat import Norm

#: Newton steps at most: what is missing falls below float32's resolution long before.
_STEPS = 24


def nearest_in_plane(points: Tensor, w: Tensor, excess: Tensor, norm: Norm) -> Tensor:
    """Return the shortest moves of `points` onto a hyperplane inside the box, (n, P, D).

    Args:
        points: (n, P, D) in [0, 1].
        w: (n, D) one normal per sample; a zero normal moves nothing.
        excess: (n, P) w . t - b of each point.
        norm: what is shortest.
    """
    scale = w.abs().amax(1, keepdim=True)
    if norm != "Linf":
        # Where the plane lies beyond the box, pixels that do not matter would go all the way too. The authors leave out
        # |w_i| <= 1e-8; a network with tiny logits must not hide behind that.
        w = torch.where(w.abs() > (1e-6 * scale).clamp_max(1e-8), w, torch.zeros_like(w))
    scale = torch.where(scale > 0, scale, torch.ones_like(scale))
    w, need = w / scale, excess.abs() / scale
    # Pixels move against w where w . t exceeds b, else along it.
    direction = torch.where(excess >= 0, -1.0, 1.0).to(w)[:, :, None] * w.sign()[:, None]
    ceiling = torch.gt(direction, 0, out=torch.empty_like(points))
    room = ceiling.sub_(points).abs_()
    weight = w.abs()
    if norm == "L1":
        return _fill(weight, room, need).mul_(direction)
    speed = weight[:, None] if norm == "L2" else None
    level = _newton(weight[:, None], room, need, speed)[:, :, None]
    moved = torch.minimum(level if speed is None else level * speed, room)
    unreachable = (need >= (weight[:, None] * room).sum(2))[:, :, None]
    return torch.where(unreachable, room, moved).mul_(direction)


def _newton(weight: Tensor, room: Tensor, need: Tensor, speed: Tensor | None) -> Tensor:
    """Return the level at which sum_i weight_i min(level speed_i, room_i) = need, some level where there is none.

    Args:
        weight: (n, 1, D), at least 0.
        room: (n, P, D), at least 0.
        need: (n, P), at least 0.
        speed: (n, 1, D); None: 1 everywhere.
    """
    slope_weight = weight if speed is None else weight * speed
    slope = slope_weight.sum(2).expand_as(need)
    level = torch.where(slope > 0, need / slope, torch.zeros_like(need))
    work = torch.empty_like(room)
    for _ in range(_STEPS):
        # Comparisons that write floats: masks of booleans cost several times as much on the CPU.
        wanted = level[:, :, None] if speed is None else level[:, :, None] * speed
        slope = torch.gt(room, wanted, out=work).mul_(slope_weight).sum(2)
        missing = need - torch.minimum(room, wanted.expand_as(room), out=work).mul_(weight).sum(2)
        move = torch.where((slope > 0) & (missing > 0), missing / slope, torch.zeros_like(level))
        level = level + move
        # Asking costs nothing on the CPU; elsewhere it would wait for the device.
        if not level.is_cuda and not bool((move > 8 * torch.finfo(level.dtype).eps * level).any()):
            break
    return level


def _fill(weight: Tensor, room: Tensor, need: Tensor) -> Tensor:
    """Return how far each pixel moves if those with the largest weight move first, (n, P, D).

    Args:
        weight: (n, D), at least 0 and at most 1.
        room: (n, P, D), at least 0.
        need: (n, P), at least 0.
    """
    weight = weight[:, None]
    gain = weight * room
    # The order of positive floats is that of their bits. Those of 1.0 end the bracket.
    whole_number = torch.int32 if weight.dtype == torch.float32 else torch.int64
    low = torch.full(need.shape, -1, dtype=whole_number, device=need.device)
    high = torch.full_like(low, int(torch.ones((), dtype=weight.dtype).view(whole_number)))
    work = torch.empty_like(room)
    for _ in range(31 if weight.dtype == torch.float32 else 63):
        # Invariant: the pixels above `low` reach the plane together (if any do), those above `high` do not.
        middle = low + (high - low) // 2
        above = torch.gt(weight, middle.clamp_min(0).view(weight.dtype)[:, :, None], out=work)
        enough = (above.mul_(gain).sum(2) >= need) | (middle < 0)
        low, high = torch.where(enough, middle, low), torch.where(enough, high, middle)
    step = high.view(weight.dtype)[:, :, None]
    whole, at_step = (weight > step).to(room), (weight == step).to(room)
    missing, available = need - (whole * gain).sum(2), (at_step * gain).sum(2)
    share = torch.where(available > 0, missing / available, torch.ones_like(missing)).clamp(0, 1)
    moved = room * (whole + at_step * share[:, :, None])
    return torch.where((need >= gain.sum(2))[:, :, None], room, moved)


def nearest_by_sorting(points: Tensor, w: Tensor, b: Tensor, norm: Norm) -> Tensor:
    """Return the shortest moves onto w . z = b, b (n,), by sorting where each pixel meets the box, as the authors do.

    The order of the floating-point operations is theirs, so that FAB can be compared with theirs to the last bit. In L2
    and L1 pixels with |w_i| <= 1e-8 do not move, whatever the scale of w.
    """
    n, count = points.shape[:2]
    t = points.transpose(0, 1).reshape(n * count, -1)
    w, b = w.repeat(count, 1), b.repeat(count)
    above = (w * t).sum(1) - b >= 0
    sign = torch.where(above, 1.0, -1.0).to(w)
    w, b = w * sign[:, None], b * sign
    d = {"Linf": _sorted_linf, "L2": _sorted_l2, "L1": _sorted_l1}[norm](t, w, (w * t).sum(1) - b)
    # Where there is no gradient the sums are 0 / 0.
    d = torch.where((w != 0).any(1, keepdim=True), d, torch.zeros_like(d))
    return d.reshape(count, n, -1).transpose(0, 1)


def _pick(values: Tensor, place: Tensor) -> Tensor:
    return values.gather(1, place[:, None])[:, 0]


def _last_holding(holds: Tensor, count: int) -> Tensor:
    """Return by bisection the last of the first `count` - 1 places where a condition holds, (rows,), else 0.

    Rounding can make the condition hold again far behind, where sums of what is left are all that remains: bisection
    ends at the first of such places as the authors' does, counting would not.
    """
    low = torch.zeros(len(holds), dtype=torch.long, device=holds.device)
    high = torch.full_like(low, count - 1)
    for _ in range(math.ceil(math.log2(holds.shape[1]))):
        middle = (low + high) // 2
        held = _pick(holds, middle)
        low, high = torch.where(held, middle, low), torch.where(held, high, middle)
    return low


def _sorted_linf(t: Tensor, w: Tensor, need: Tensor) -> Tensor:
    up = w < 0
    room = torch.where(up, 1 - t, t)
    gain = w.abs() * room
    total = gain.sum(1)
    order = room.argsort(dim=1).flip(1)
    falling = room.gather(1, order)
    # With the j + 1 roomiest pixels still moving, the others have given `rest`.
    slope = w.abs().gather(1, order).cumsum(1)
    rest = total[:, None] - gain.gather(1, order).cumsum(1)
    reach = rest + slope * falling
    holds = need[:, None] < reach
    place = _last_holding(holds, t.shape[1])
    place = torch.where(_pick(holds, torch.full_like(place, t.shape[1] - 1)), t.shape[1] - 1, place)
    level = ((need - _pick(rest, place)) / _pick(slope, place)).clamp_min(0)
    moved = torch.where((need < total)[:, None], torch.minimum(level[:, None], room), room)
    return torch.where(up, moved, -moved) * (w != 0)


def _sorted_l2(t: Tensor, w: Tensor, need: Tensor) -> Tensor:
    moves = w.abs() > 1e-8
    # The level at which each pixel meets the box; 1e12 where it never does.
    meets = torch.maximum(t / w, (t - 1) / w).clamp(-1e12, 1e12)
    meets = torch.where((w.abs() < 1e-8) | (meets == -1e12), 1e12, meets)
    rising, order = meets.sort(dim=1)
    following = torch.nn.functional.pad(rising[:, 1:], (0, 1))
    rising = torch.where(rising == 1e12, 0, rising)
    following = torch.where(following == 1e12, 0, following)
    squares = (w**2).gather(1, order)
    every = squares.sum(1, keepdim=True)
    slope = every - squares.cumsum(1)
    first = -every * rising[:, :1]
    left = torch.cat((first, ((rising - following) * slope).cumsum(1) + first), 1) + need[:, None]
    farthest = -(meets * w) * moves
    place = _last_holding(left > 0, w.shape[1])
    at_slope = _pick(slope, place)
    level = torch.where(at_slope == 0, 0, _pick(left, place) / at_slope + _pick(rising, place))
    inside = torch.where(level[:, None] > meets, farthest, -level[:, None] * w)
    before_any = left[:, 0] < 0
    beyond = (farthest * w).sum(1) + need > 0
    d = torch.where(beyond[:, None], farthest, inside)
    d = torch.where(before_any[:, None], -(need / every[:, 0])[:, None] * w, d)
    return d * moves


def _sorted_l1(t: Tensor, w: Tensor, need: Tensor) -> Tensor:
    room = torch.where(w < 0, 1 - t, -t) * (w != 0)
    order = (1 / w).abs().clamp_max(1e12).argsort(dim=1)
    rank = order.argsort(dim=1)
    left = torch.cat((need[:, None], torch.minimum(-w * t, w * (1 - t)).gather(1, order)), 1).cumsum(1)
    reached = left[:, -1] < 0
    place = _last_holding(left > 0, left.shape[1] + 1).clamp_max(w.shape[1] - 1)
    last = order.gather(1, place[:, None])
    part = (-_pick(left, place) / w.gather(1, last)[:, 0])[:, None]
    filled = (room * (rank < place[:, None])).scatter(1, last, part)
    return torch.where(reached[:, None], filled, room) * (w.abs() > 1e-8)
