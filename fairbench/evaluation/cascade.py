"""A cascade: attacks in a row, each on the survivors of the one before. AutoAttack is one.

The evaluator runs it, so that verification, resume and the per-part rows come from one place. What a part needs to know
of the parts before is their rows: a sample survives where its prediction is still its label.

Shape key: B batch, C H W image.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from fairbench.evaluation.examples import Keep
from fairbench.evaluation.judging import check_example, into_ball, judge
from fairbench.evaluation.networks import Networks
from fairbench.outcomes import NATURAL, Outcomes
from fairbench.threat import Threat


@dataclass(frozen=True)
class Part:
    """One attack of a cascade.

    Attributes:
        name: "apgd-ce".
        run: (model, x, y) -> x_adv of the same shape, x itself where nothing was found.
        uses_gradients: whether it may run on the faster copy of the model. A black-box attack accepts or rejects
            proposals by tiny differences of logits, which a copy in bfloat16 swallows: it runs on the judge.
    """

    name: str
    run: Callable[[nn.Module, Tensor, Tensor], Tensor]
    uses_gradients: bool = True


def part_rows(
    part: Part,
    nets: Networks,
    x: Tensor,
    y: Tensor,
    index: Tensor,
    before: Outcomes,
    *,
    attack: str,
    threat: Threat,
    keep: Keep | None = None,
) -> Outcomes:
    """Return the cumulative verdicts after `part`: one row per sample of the block, named "<attack>/<part>".

    Args:
        part: the attack to run.
        nets: the networks of the evaluation.
        x: (B, C, H, W) pixels of the block, in ascending order of `index`.
        y: (B,) labels.
        index: (B,) the samples' identities.
        before: the block's natural rows or those after the part before, of the same samples.
        attack: the cascade's name.
        threat: norm and radius.
        keep: receives the projected examples of the survivors.

    A sample leaves only when the judge errs on its projected example; else it stays for the parts that follow. Where no
    part has found an example, loss, margin, linf and distance are null, and the prediction is the natural one.
    """
    name = f"{attack}/{part.name}"

    def craft(x_left: Tensor, y_left: Tensor, index_left: Tensor) -> Tensor:
        x_adv = part.run(nets.gradient if part.uses_gradients else nets.judge, x_left, y_left)
        # Rounding is forgiven and projected away; an example far outside is the attack's bug.
        check_example(x_adv, x_left, attack=name, threat=threat, slack=1e-3)
        x_adv = into_ball(x_adv, x_left, threat)
        if keep is not None:
            keep(name, index_left, x_adv, x_left)
        return x_adv

    return cumulative_rows(name, craft, nets.judge, x, y, index, before, threat=threat)


def cumulative_rows(
    name: str,
    craft: Callable[[Tensor, Tensor, Tensor], Tensor],
    network: nn.Module,
    x: Tensor,
    y: Tensor,
    index: Tensor,
    before: Outcomes,
    *,
    threat: Threat,
) -> Outcomes:
    """Return the rows `name` of a block: those of `before`, changed where `network` errs on a survivor's example.

    `craft` takes the survivors' pixels, labels and indices and returns their examples; the rest as in `part_rows`.
    """
    frame = before.frame.copy()
    assert np.array_equal(frame["index"], index.cpu().numpy())
    if set(frame["attack"]) == {NATURAL}:
        frame[["loss", "margin", "linf", "distance"]] = np.nan
    frame["attack"] = name
    survivors = np.flatnonzero(frame["prediction"] == frame["label"])
    if len(survivors):
        rows = torch.from_numpy(survivors).to(x.device)
        x_left, y_left, index_left = x[rows], y[rows], index[rows]
        x_adv = craft(x_left, y_left, index_left)
        judged = judge(network, x_adv, x_left, y_left, index_left, attack=name, threat=threat).frame
        broken = (judged["prediction"] != judged["label"]).to_numpy()
        for column in ("prediction", "loss", "margin", "linf", "distance"):
            values = frame[column].to_numpy().copy()
            values[survivors[broken]] = judged[column].to_numpy()[broken]
            frame[column] = values
    return Outcomes(frame)
