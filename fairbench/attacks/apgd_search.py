"""One call of APGD: the runs over the samples left, and the steps of each, see `fairbench.attacks.apgd`.

Shape key: B batch, b samples that are left, C H W image, K classes.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from fairbench.attacks.apgd_steps import HalvingPace, SparsePace, ball_around
from fairbench.attacks.attack_memory import AttackMemory, RowState, Saved, laid_out, overwrite
from fairbench.attacks.dlr import dlr
from fairbench.attacks.linf import Start
from fairbench.attacks.norm_ball import l1_projection
from fairbench.attacks.survivors import Round, Survivors, not_finite, refuse_nan, rounds, share_of_lead
from fairbench.losses import cross_entropy
from fairbench.sample_random import SampleRandom
from fairbench.threat import Norm

#: (logits, labels, targets) -> loss to increase, (b,).
Loss = Callable[[Tensor, Tensor, Tensor], Tensor]
UNTARGETED: dict[str, Loss] = {
    "ce": lambda logits, y, _: cross_entropy(logits, y),
    "dlr": lambda logits, y, _: dlr(logits, y),
}
_SURE = -math.inf  # the lead where the attacked network errs
#: L1's schedule: radius as a multiple of eps, and share of the steps (the last stage takes what is left).
_L1_STAGES = ((3.0, 0.3), (2.0, 0.3), (1.0, 0.4))


@dataclass(frozen=True)
class ApgdSettings:
    """What does not change during a call, see `apgd`."""

    model: nn.Module
    norm: Norm
    loss: Loss
    steps: int
    rho: float
    draws: int
    staged: bool
    first_loss: Literal["zero", "start"]
    doubt: float = 0.0

    def plan(self) -> list[Stage]:
        """Return the stages of a run."""
        if self.norm != "L1" or not self.staged:
            return [Stage(0, 1.0, self.steps, last=True)]
        counts = [math.ceil(share * self.steps) for _, share in _L1_STAGES[:-1]]
        counts.append(max(self.steps - sum(counts), 1))
        return [Stage(k, _L1_STAGES[k][0], counts[k], last=k == 2, before=sum(counts[:k])) for k in range(3)]


@dataclass(frozen=True)
class Stage:
    """A part of a run: `steps` steps within `factor` times eps, after `before` steps of earlier parts."""

    number: int
    factor: float
    steps: int
    last: bool
    before: int = 0


@dataclass
class _Ascent(RowState):
    """One run on the samples left, since the last time samples could leave.

    `lead`: of x_found, see `_evaluate`; infinite where there is none.
    """

    rows: Tensor
    x_adv: Tensor
    x_before: Tensor
    gradient: Tensor
    best: Tensor
    x_best: Tensor
    gradient_best: Tensor
    lead: Tensor
    x_found: Tensor
    bad: Tensor
    step: int

    @property
    def found(self) -> Tensor:
        """Who is misclassified, or nearly so where the network is doubted, (b,)."""
        return self.lead < torch.inf


@dataclass(frozen=True)
class ApgdSearch:
    """All runs of one call: targets and restarts, each in stages."""

    settings: ApgdSettings
    book: Survivors
    eps: Tensor
    random: SampleRandom
    start: Start
    drop_every: int
    memory: AttackMemory | None

    def run(self, aims: Callable[[Tensor], Tensor], name: Callable[[int], str]) -> Tensor:
        """Run once per column of `aims(logits)`, (B, R) classes; `name` names each run's noise."""
        for turn in rounds(self.settings.model, self.book, self.memory, aims):
            self._one_run(turn, name(turn.number))
        return self.book.x_adv

    def _one_run(self, turn: Round, name: str) -> None:
        plan, rows, saved = self.settings.plan(), turn.rows, turn.saved
        x_start: Tensor | None = None
        for stage in plan[0 if saved is None else int(saved["stage"]) :]:
            if saved is not None:
                state, pace = self._recalled(saved)
                saved = None
            else:
                x, radius = self.book.x[rows], stage.factor * self.eps[rows]
                if x_start is None:
                    x_start = self.start(x, radius, self.random.at(rows).fork(name)).detach()
                if self.settings.norm == "L1":
                    x_start = x_start + l1_projection(x, x_start - x, radius)
                state, pace = self._begin(turn, rows, x_start.clamp(0, 1), stage, sparse=len(plan) > 1)
            self._climb(turn, stage, state, pace)
            if stage.last:
                self.book.claim(state.rows, state.x_found, state.found, state.lead == _SURE)
            refuse_nan(state.bad & ~self.book.broken[state.rows], what=f"APGD ({name})")
            rows, x_start = state.rows, state.x_best

    def _begin(
        self, turn: Round, rows: Tensor, x_start: Tensor, stage: Stage, *, sparse: bool
    ) -> tuple[_Ascent, HalvingPace | SparsePace]:
        settings = self.settings
        loss, lead, gradient = self._evaluate(x_start, rows, turn.target(rows))
        eps = stage.factor * self.eps[rows]
        state = _Ascent(
            rows=rows, x_adv=x_start, x_before=x_start, gradient=gradient, best=loss.clone(), x_best=x_start.clone(),
            gradient_best=gradient.clone(), lead=lead, x_found=x_start.clone(),
            bad=~torch.isfinite(loss) | not_finite(gradient), step=0,
        )  # fmt: skip
        if settings.norm == "L1":
            return state, SparsePace.begin(eps, x_start, self.book.x[rows], steps=stage.steps, sparse_start=sparse)
        earlier = torch.zeros_like(loss) if settings.first_loss == "zero" else loss.clone()
        return state, HalvingPace.begin(eps, loss, steps=settings.steps, rho=settings.rho, first_loss=earlier)

    def _recalled(self, saved: Saved) -> tuple[_Ascent, HalvingPace | SparsePace]:
        kind: type[HalvingPace] | type[SparsePace] = SparsePace if self.settings.norm == "L1" else HalvingPace
        return _Ascent.recalled("ascent", saved, self.book.x), kind.recalled("pace", saved, self.book.x)

    def _climb(self, turn: Round, stage: Stage, state: _Ascent, pace: HalvingPace | SparsePace) -> None:
        x, target = self.book.x[state.rows], turn.target(state.rows)
        ball = ball_around(self.settings.norm, x, stage.factor * self.eps[state.rows])
        dropping = stage.last and self.book.success is not None
        while state.step < stage.steps:
            final = state.step + 1 == stage.steps
            x_adv = ball.step(state.x_adv, state.x_before, state.gradient, pace, first=state.step == 0)
            state.x_before, state.x_adv = state.x_adv, x_adv
            loss, lead, state.gradient = self._evaluate(x_adv, state.rows, target, gradient=not final)
            state.bad = state.bad | ~torch.isfinite(loss)
            if not final:
                state.bad = state.bad | not_finite(state.gradient)
            # The last one that the attacked network is sure of, else the one with the narrowest lead.
            claimed = (lead == _SURE) | (lead < state.lead)
            overwrite(state.x_found, claimed, x_adv)
            state.lead = torch.where(claimed, lead, state.lead)
            better = loss > state.best
            state.best = torch.where(better, loss, state.best)
            overwrite(state.x_best, better, x_adv)
            state.step += 1
            if final:
                return
            overwrite(state.gradient_best, better, state.gradient)
            back = pace.observe(loss, state.best, state.x_best, x)
            if back is not None:
                # `x_before` stays where the sample was: the momentum after a return is the original's.
                overwrite(state.x_adv, back, state.x_best)
                overwrite(state.gradient, back, state.gradient_best)
            if dropping and state.step % self.drop_every == 0 and bool(state.found.any()):
                stays = ~self.book.claim(state.rows, state.x_found, state.found, state.lead == _SURE)
                state.lead = torch.full_like(state.lead, torch.inf)
                if not bool(stays.any()):
                    state.keep(stays)
                    return
                if not bool(stays.all()):
                    state.keep(stays)
                    pace.keep(stays)
                    ball, x, target = ball.at(stays), x[stays], target[stays]
            if self.memory is not None:
                done = (stage.before + state.step) / self.settings.steps
                self.memory.offer(lambda: self._marked(turn, stage, state, pace), turn.done(min(done, 1.0)))

    def _marked(self, turn: Round, stage: Stage, state: _Ascent, pace: HalvingPace | SparsePace) -> dict[str, Tensor]:
        return {
            "stage": torch.tensor(stage.number),
            **turn.mark(self.book),
            **state.saved("ascent"),
            **pace.saved("pace"),
        }

    def _evaluate(
        self, x_adv: Tensor, rows: Tensor, target: Tensor, *, gradient: bool = True
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return the loss and the label's lead, (b,) each, and the gradient (empty without `gradient`).

        The lead is _SURE where the sample is misclassified, and infinite where it is so wide that nobody doubts it.
        """
        settings, y = self.settings, self.book.y[rows]
        total = torch.empty(0)
        for draw in range(settings.draws if gradient else 1):
            with torch.set_grad_enabled(gradient):
                leaf = x_adv.detach().requires_grad_(gradient)
                logits = settings.model(leaf)
                loss = settings.loss(logits, y, target)
            if gradient:
                (slope,) = torch.autograd.grad(loss.sum(), leaf)
                total = total + slope if draw else slope
        if gradient:
            total = laid_out(total / settings.draws if settings.draws > 1 else total, x_adv)
        logits = logits.detach()
        lead = torch.full_like(logits[:, 0], torch.inf)
        if settings.doubt > 0 and self.book.success is not None:
            share = share_of_lead(logits, y)
            lead = torch.where(share < settings.doubt, share, lead)
        return loss.detach(), lead.masked_fill(logits.argmax(1) != y, _SURE), total
