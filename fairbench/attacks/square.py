"""Square, AutoAttack's black-box attack: random squares are kept where they lower the margin.

Paper: Andriushchenko, Croce, Flammarion & Hein, "Square Attack: a query-efficient black-box adversarial attack via
random search", ECCV 2020, arXiv 1912.00049. Settings of AutoAttack: margin loss, squares that begin with 0.8 of the
image, a schedule that is not stretched to the number of queries. Equal to the authors' code in distribution, not draw
by draw:

* Each sample draws its own squares, signs and orientations, keyed by sample and query. The authors draw one square and
  one colour per query for the whole batch, so that a verdict depends on the batch size.
* The authors' squares never touch the last row and column (nor do those of the paper's code). Kept, since published
  numbers have it and the start covers the whole image; `reach_last=True` draws from all places.
* A sample is finished when its margin is negative. The authors stop already at a margin of exactly 0, where a tie may
  still be decided for the label; here it goes on, and what it ends with is judged.

Only the square is touched in Linf: proposals are written into the images in place, and taken back where they fail.

Shape key: B batch, n samples that are left, C H W image, s side of a square, K classes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from fairbench.attacks.attack_memory import AttackMemory, RowState
from fairbench.attacks.norm_ball import radii
from fairbench.attacks.square_proposals import LinfProposals, SpreadProposals
from fairbench.attacks.square_shapes import corners, covered_share, square_side
from fairbench.attacks.survivors import Round, Success, Survivors, check_every, refuse_nan, rounds
from fairbench.losses import margin
from fairbench.sample_random import SampleRandom
from fairbench.threat import Norm


class Follower(Protocol):
    """Images in a network, kept up to date while squares change."""

    def logits(self, x: Tensor, corner: Tensor) -> Tensor:
        """Return the (n, K) logits of images whose squares at `corner` (n,) have changed."""

    def settle(self, accepted: Tensor) -> None:
        """Keep the last squares where they were accepted (n,), and take the others back."""

    def keep(self, rows: Tensor) -> None:
        """Keep only some of the images (mask)."""


#: What a network's `follow` is: (images, side of the squares) -> Follower, or None where it would not pay.
Follow = Callable[[Tensor, int], Follower | None]
#: Draws are made for so many queries at once; part of the noise's key, so it never changes.
_CHUNK = 64
#: The smallest positive limit: a margin of 0 lies below it.
_TIE = 1e-30


def square(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    eps: float | Tensor,
    random: SampleRandom,
    norm: Norm = "Linf",
    queries: int = 5000,
    restarts: int = 1,
    first_share: float = 0.8,
    rescale_schedule: bool = False,
    reach_last: bool = False,
    success: Success | None = None,
    drop_every: int | None = None,
    memory: AttackMemory | None = None,
) -> Tensor:
    """Return an adversarial example per sample, x itself where none was found, (B, C, H, W).

    One forward per query; no gradients.

    Args:
        model: pixels in [0, 1] in, logits out, in eval mode. Proposals are accepted for tiny differences of logits, so
            it must compute in float32 at least.
        x: (B, C, H, W) pixels in [0, 1]; their memory layout is that of all images the model sees.
        y: (B,) labels.
        eps: radius, one number or (B,).
        random: the samples' streams.
        norm: "Linf", "L2" or "L1".
        queries: of each restart.
        restarts: each on the samples that are left.
        first_share: the share of the image that the first squares cover.
        rescale_schedule: whether the squares' schedule is stretched from 10,000 to `queries`.
        reach_last: whether squares may touch the last row and column, see above.
        success: (x_adv, rows) -> which are adversarial. Samples whose examples it confirms leave, others go on. None:
            the attacked network decides.
        drop_every: after how many queries samples may leave; None: 1 on the CPU, else 10.
        memory: takes the state now and then and gives it back after an interruption.

    Raises:
        Refused: "nan-logits".
    """
    book = Survivors(x, y, success)
    walk = _Square(
        model, book, radii(eps, x), random, norm, queries, first_share, rescale_schedule, reach_last,
        check_every(x.device, drop_every), memory,
    )  # fmt: skip
    for turn in rounds(model, book, memory, lambda logits: y[:, None].expand(-1, restarts)):
        walk.run(turn)
    return book.x_adv


@dataclass
class _Walk(RowState):
    """A random walk on the samples left. A proposal is accepted if its margin lies below `limit`, (n,).

    The limit is the margin of `x_best`; just above 0 where that is 0, since a tie is taken again; -inf where the
    sample is found and waits until it may leave.
    """

    rows: Tensor
    x_best: Tensor
    limit: Tensor
    bad: Tensor
    query: int


@dataclass(frozen=True)
class _Square:
    model: nn.Module
    book: Survivors
    eps: Tensor
    random: SampleRandom
    norm: Norm
    queries: int
    first_share: float
    rescale_schedule: bool
    reach_last: bool
    drop_every: int
    memory: AttackMemory | None

    def run(self, turn: Round) -> None:
        """Walk once with the samples left."""
        book = self.book
        if turn.saved is not None:
            state = _Walk.recalled("walk", turn.saved, book.x)
        else:
            x_best = self._proposals(turn.rows).start(self._random(turn, turn.rows).fork("start"))
            value = self._margin(x_best, turn.rows)
            state = _Walk(turn.rows, x_best, _limit(value), ~torch.isfinite(value), query=0)
        self._walk(turn, state)
        found = state.limit == -torch.inf
        ties = state.limit == _TIE
        if bool(ties.any()):
            with torch.no_grad():
                found[ties] = self.model(state.x_best[ties]).argmax(1) != book.y[state.rows[ties]]
        book.claim(state.rows, state.x_best, found)
        refuse_nan(state.bad & ~book.broken[state.rows], what="Square")

    def _random(self, turn: Round, rows: Tensor) -> SampleRandom:
        return self.random.at(rows).fork(f"restart {turn.number}")

    def _proposals(self, rows: Tensor) -> LinfProposals | SpreadProposals:
        x, eps = self.book.x[rows], self.eps[rows]
        return LinfProposals.around(x, eps) if self.norm == "Linf" else SpreadProposals(x, eps, self.norm)

    def _margin(self, x_adv: Tensor, rows: Tensor) -> Tensor:
        with torch.no_grad():
            return margin(self.model(x_adv), self.book.y[rows])

    def _walk(self, turn: Round, state: _Walk) -> None:
        book, proposals = self.book, self._proposals(state.rows)
        squares: _Squares | None = None
        follower: Follower | None = None
        # Where only a square changes, a network may compute only what the square reaches.
        follow: Follow | None = getattr(self.model, "follow", None) if self.norm == "Linf" else None
        while state.query < self.queries:
            if state.query % self.drop_every == 0:
                found = state.limit == -torch.inf
                if bool(found.any()):
                    stays = ~book.claim(state.rows, state.x_best, found)
                    state.limit = torch.where(found, torch.full_like(state.limit, _TIE), state.limit)
                    state.keep(stays)
                    if len(state.rows) == 0:
                        return
                    proposals = proposals.at(stays)
                    squares = None if squares is None else squares.at(stays)
                    if follower is not None:
                        follower.keep(stays)
            chunk, place = divmod(state.query, _CHUNK)
            anew = squares is None or place == 0
            if squares is None or place == 0:
                squares = self._draw(turn, state, chunk, proposals)
            side = squares.sides[place]
            if follow is not None and (anew or side != squares.sides[place - 1]):
                follower = follow(state.x_best, side)
            x_new = proposals.propose(state.x_best, squares.draws[place], squares.corners[place], side)
            if follower is None:
                value = self._margin(x_new, state.rows)
            else:
                value = margin(follower.logits(x_new, squares.corners[place][:, 0]), book.y[state.rows])
            better = value < state.limit
            proposals.settle(state.x_best, x_new, better)
            if follower is not None:
                follower.settle(better)
            state.limit = torch.where(better, _limit(value), state.limit)
            state.bad = state.bad | torch.isnan(value)
            state.query += 1
            if self.memory is not None:
                # A follower begins anew with every chunk, and only there would a resumed one have the same bits.
                whole = follow is None or state.query % _CHUNK == 0
                self.memory.offer(
                    (lambda: {**turn.mark(book), **state.saved("walk")}) if whole else None,
                    turn.done(state.query / self.queries),
                )

    def _draw(self, turn: Round, state: _Walk, chunk: int, proposals: LinfProposals | SpreadProposals) -> _Squares:
        height, width = state.x_best.shape[2:]
        stream = self._random(turn, state.rows).fork("squares")
        draws = stream.uniform((_CHUNK, proposals.draws), iteration=chunk).transpose(0, 1).contiguous()
        sides = [
            square_side(
                covered_share(query, self.queries, first=self.first_share, rescale=self.rescale_schedule),
                height,
                width,
                self.norm,
            )
            for query in range(chunk * _CHUNK, (chunk + 1) * _CHUNK)
        ]
        lengths = torch.tensor(sides, device=draws.device)
        places = [
            corners(draws[..., 2 * k : 2 * k + 2], lengths[:, None], height, width, reach_last=self.reach_last)
            for k in range(proposals.squares)
        ]
        return _Squares(draws, torch.stack(places, 2), sides)


@dataclass(frozen=True)
class _Squares:
    """The draws of _CHUNK queries: (Q, n, draws) numbers, (Q, n, squares) corners, and Q sides."""

    draws: Tensor
    corners: Tensor
    sides: list[int]

    def at(self, rows: Tensor) -> _Squares:
        return _Squares(self.draws[:, rows], self.corners[:, rows], self.sides)


def _limit(value: Tensor) -> Tensor:
    return torch.where(value < 0, torch.full_like(value, -torch.inf), value.clamp_min(_TIE))
