"""One call of FAB: the runs over the samples left, and the steps of each, see `fairbench.attacks.fab`.

Shape key: B batch, b samples that are left, C H W image, K classes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from fairbench.attacks.attack_memory import AttackMemory, RowState, laid_out, overwrite
from fairbench.attacks.fab_forecast import Forecast
from fairbench.attacks.fab_linear import LinearNetwork
from fairbench.attacks.fab_projection import nearest_by_sorting, nearest_in_plane
from fairbench.attacks.linf import Start
from fairbench.attacks.norm_ball import length, spread
from fairbench.attacks.survivors import Round, Survivors, not_finite, refuse_nan, rounds
from fairbench.sample_random import SampleRandom
from fairbench.threat import Norm

_FARTHEST = 1e10  # the authors' "no example yet"


@dataclass(frozen=True)
class FabSettings:
    """What does not change during a call, see `fab`."""

    model: nn.Module
    norm: Norm
    steps: int
    alpha_max: float
    eta: float
    beta: float
    projection: Literal["newton", "sort"]
    reuse: bool | None
    drop_every: int


@dataclass
class _Descent(RowState):
    """One run on the samples left.

    `lead`, `slope`: the rival's logit minus the label's at x_now, and its gradient. `found`: an example since the last
    time that samples could leave; `nearest`: its distance.
    """

    rows: Tensor
    x_now: Tensor
    lead: Tensor
    slope: Tensor
    found: Tensor
    x_found: Tensor
    nearest: Tensor
    bad: Tensor
    step: int


@dataclass
class FabSearch:
    """All runs of one call: targets and restarts."""

    settings: FabSettings
    book: Survivors
    eps: Tensor
    random: SampleRandom
    start: Start
    restarts: int
    memory: AttackMemory | None

    def run(self, aims: Callable[[Tensor], Tensor], *, targeted: bool) -> Tensor:
        """Run once per column of `aims(logits)`."""
        for turn in rounds(self.settings.model, self.book, self.memory, aims):
            target, restart = divmod(turn.number, self.restarts)
            self._one_run(turn, f"target {target} restart {restart}", restart, targeted=targeted)
        return self.book.x_adv

    def _one_run(self, turn: Round, name: str, restart: int, *, targeted: bool) -> None:
        book = self.book
        if turn.saved is not None:
            state = _Descent.recalled("descent", turn.saved, book.x)
            forecast = Forecast.recalled("forecast", turn.saved, book.x)
        else:
            rows, x = turn.rows, book.x[turn.rows]
            x_now = x.clone()
            if restart > 0:
                x_now = self.start(x, self.eps[rows], self.random.at(rows).fork(name)).detach().clamp(0, 1)
            target = turn.target(rows) if targeted else None
            lead, slope = LinearNetwork(self.settings.model, book.y[rows], target, self.settings.norm).at(x_now)
            state = _Descent(
                rows=rows, x_now=x_now, lead=lead, slope=slope, found=torch.zeros_like(rows, dtype=torch.bool),
                x_found=x.clone(), nearest=torch.full_like(self.eps[rows], _FARTHEST),
                bad=~torch.isfinite(lead) | not_finite(slope), step=0,
            )  # fmt: skip
            forecast = Forecast.begin(rows)
        self._descend(turn, state, forecast, targeted=targeted)
        within = state.found & (state.nearest <= self.eps[state.rows])
        book.claim(state.rows, state.x_found, within)
        refuse_nan(state.bad & ~book.broken[state.rows], what=f"FAB ({name})")

    def _descend(self, turn: Round, state: _Descent, forecast: Forecast, *, targeted: bool) -> None:
        book, settings = self.book, self.settings
        dropping = book.success is not None
        reuse = settings.reuse if settings.reuse is not None else not book.x.is_cuda
        x, y, eps = book.x[state.rows], book.y[state.rows], self.eps[state.rows]
        network = LinearNetwork(settings.model, y, turn.target(state.rows) if targeted else None, settings.norm)
        while state.step < settings.steps:
            state.x_now = _move(settings, x, state.x_now, state.lead, state.slope)
            final = state.step + 1 == settings.steps
            crossed = network.look(state.x_now, forecast.stays() if reuse and not final else None)
            if reuse:
                forecast.observe(crossed)
            distance = length(state.x_now - x, settings.norm)
            # With `success`, any example within eps ends the search, so the last one is as good as the nearest.
            better = crossed & (distance <= eps if dropping else distance < state.nearest)
            overwrite(state.x_found, better, state.x_now)
            state.nearest = torch.where(better, distance, state.nearest)
            state.found = state.found | better
            state.step += 1
            if dropping and (state.step % settings.drop_every == 0) and bool(state.found.any()):
                gone = book.claim(state.rows, state.x_found, state.found)
                state.found = torch.zeros_like(state.found)
                if bool(gone.any()):
                    state.keep(~gone)
                    forecast.keep(~gone)
                    network.keep(~gone)
                    crossed, x, eps = crossed[~gone], x[~gone], eps[~gone]
            if final or len(state.rows) == 0:
                return
            overwrite(state.x_now, crossed, x + (state.x_now - x) * settings.beta)
            state.lead, state.slope = network.after_look(state.x_now)
            state.bad = state.bad | ~torch.isfinite(state.lead) | not_finite(state.slope)
            if self.memory is not None:
                self.memory.offer(
                    lambda: {**turn.mark(book), **state.saved("descent"), **forecast.saved("forecast")},
                    turn.done(state.step / settings.steps),
                )


def _move(settings: FabSettings, x: Tensor, x_now: Tensor, lead: Tensor, slope: Tensor) -> Tensor:
    """Return the next iterate: between the projections of x_now and of x onto the boundary, and a little beyond."""
    w, here = slope.flatten(1), x_now.flatten(1)
    points = torch.stack((here, x.flatten(1)), 1)
    if settings.projection == "sort":
        b = (slope * x_now).flatten(1).sum(1) - lead
        moves = nearest_by_sorting(points, w, b, settings.norm)
    else:
        # The plane is where `lead` vanishes; the two points are near each other, so their difference is exact.
        excess = torch.stack((lead, lead + (w * (points[:, 1] - here)).sum(1)), 1)
        moves = nearest_in_plane(points, w, excess, settings.norm)
    from_here, from_x = (laid_out(moves[:, place].reshape(x.shape), x) for place in (0, 1))
    size, size_from_x = (length(move, settings.norm).clamp_min(1e-8) for move in (from_here, from_x))
    alpha = spread((size / (size + size_from_x)).clamp(0, settings.alpha_max), x)
    forward = from_here.mul(settings.eta).add_(x_now).mul_(1 - alpha)
    return forward.add_(from_x.mul(settings.eta).add_(x).mul_(alpha)).clamp_(0, 1)
