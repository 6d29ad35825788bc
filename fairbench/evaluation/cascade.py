"""A cascade: attacks in a row, each on the survivors of the one before. AutoAttack is one.

The evaluator runs it, so that verification, resume and the per-part rows come from one place. What a part needs to know
of the parts before is their rows: a sample survives where its prediction is still its label.

Shape key: B batch, C H W image.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from fairbench.attacks.attack_memory import AttackMemory
from fairbench.attacks.survivors import Success
from fairbench.evaluation.blocks import Work
from fairbench.evaluation.examples import Keep
from fairbench.evaluation.judging import check_example, into_ball, judge
from fairbench.evaluation.random_model import RandomJudge
from fairbench.losses import margin
from fairbench.outcomes import NATURAL, Outcomes
from fairbench.threat import Threat

#: A sample leaves an attack where the judge's margin is below 0 by more than rounding, as a share of its largest logit:
#: the verdict is made again at the end, in a batch of another size.
_CLEAR = 1e-5


class PartRun(Protocol):
    """What a part does: it knows the network that it attacks."""

    def __call__(self, x: Tensor, y: Tensor, *, index: Tensor, success: Success, memory: AttackMemory | None) -> Tensor:
        """Return x_adv of the shape of x, x itself where nothing was found.

        Args:
            x: (b, C, H, W) pixels of the samples that are left.
            y: (b,) labels.
            index: (b,) identities, the key of their noise.
            success: which examples the judge confirms; their samples need not be attacked any more.
            memory: takes the attack's state now and then.
        """


@dataclass(frozen=True)
class Part:
    """One attack of a cascade, by its name ("apgd-ce")."""

    name: str
    run: PartRun


def part_rows(
    part: Part, judging: nn.Module, work: Work, *, attack: str, threat: Threat, keep: Keep | None = None
) -> Outcomes:
    """Return the cumulative verdicts after `part`: one row per sample of the block, named "<attack>/<part>".

    Args:
        part: the attack to run.
        judging: the network that decides.
        work: the block, with the natural rows or those after the part before.
        attack: the cascade's name.
        threat: norm and radius.
        keep: receives the projected examples of the survivors.

    A sample leaves only when the judge errs on its projected example; else it stays for the parts that follow. Where no
    part has found an example, loss, margin, linf and distance are null, and the prediction is the natural one.
    """
    name = f"{attack}/{part.name}"

    def craft(x: Tensor, y: Tensor, index: Tensor) -> Tensor:
        x_adv = part.run(x, y, index=index, success=_confirmed_by(judging, x, y, index, threat), memory=work.memory)
        # Rounding is forgiven and projected away; an example far outside is the attack's bug.
        check_example(x_adv, x, attack=name, threat=threat, slack=1e-3)
        x_adv = into_ball(x_adv.contiguous(), x, threat)
        if keep is not None:
            keep(name, index, x_adv, x)
        return x_adv

    return cumulative_rows(name, craft, judging, work, threat=threat)


def cumulative_rows(
    name: str, craft: Callable[[Tensor, Tensor, Tensor], Tensor], judging: nn.Module, work: Work, *, threat: Threat
) -> Outcomes:
    """Return the rows `name` of a block: those before, changed where the judge errs on a survivor's example.

    `craft` takes the survivors' pixels, labels and indices and returns their examples; the rest as in `part_rows`.
    """
    assert work.before is not None
    frame = work.before.frame.copy()
    assert np.array_equal(frame["index"], work.index.cpu().numpy())
    if set(frame["attack"]) == {NATURAL}:
        frame[["loss", "margin", "linf", "distance"]] = np.nan
    frame["attack"] = name
    survivors = np.flatnonzero(frame["prediction"] == frame["label"])
    if len(survivors):
        rows = torch.from_numpy(survivors).to(work.x.device)
        x, y, index = work.x[rows], work.y[rows], work.index[rows]
        judged = judge(judging, craft(x, y, index), x, y, index, attack=name, threat=threat).frame
        broken = (judged["prediction"] != judged["label"]).to_numpy()
        for column in ("prediction", "loss", "margin", "linf", "distance"):
            values = frame[column].to_numpy().copy()
            values[survivors[broken]] = judged[column].to_numpy()[broken]
            frame[column] = values
    return Outcomes(frame)


def _confirmed_by(judging: nn.Module, x: Tensor, y: Tensor, index: Tensor, threat: Threat) -> Success:
    def success(x_adv: Tensor, rows: Tensor) -> Tensor:
        projected = into_ball(x_adv.contiguous(), x[rows], threat)
        if isinstance(judging, RandomJudge):
            return judging.errs(projected, y[rows], index[rows])  # the very draws of the verdict at the end
        with torch.no_grad():
            logits = judging(projected)
        # False for NaN, which is no error of the network but one that the last verdict refuses.
        wrong: Tensor = margin(logits, y[rows]) < -_CLEAR * logits.abs().amax(1)
        return wrong

    return success
