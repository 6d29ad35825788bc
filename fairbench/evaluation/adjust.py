"""One number per class added to the logits, fitted on validation images: a mitigation at inference time.

The KDD 2021 study (Tian et al., arXiv 2105.14240) proposes a mitigation in the inference phase; its form is not known
from what could be read, so everything here is a named parameter. Robust accuracies are always those of the *adjusted*
network, attacked anew: examples made against the network before would flatter the one after.

Shape key: K classes, C H W image.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
from torch import nn

from fairbench.data.dataset import Dataset
from fairbench.errors import BadInput, unknown
from fairbench.evaluation.classifier import find_classifier
from fairbench.evaluation.networks import exact_arithmetic
from fairbench.evaluation.table import attack_table
from fairbench.evaluation.trust import first_images
from fairbench.metrics.classwise import Floats, class_accuracy, worst_class_accuracy
from fairbench.outcomes import NATURAL
from fairbench.progress import Progress
from fairbench.threat import Threat

Objective = Literal["sum", "worst-class"]


@dataclass(frozen=True)
class Round:
    """One set of offsets on the validation images; accuracies are fractions, `average` and `worst` under the attack."""

    offsets: tuple[float, ...]
    natural: float
    average: float
    worst: float


@dataclass(frozen=True)
class Adjustment:
    """Every round that was tried, and which one is taken; round 0 is the network as it is."""

    rounds: tuple[Round, ...]
    chosen: int

    @property
    def offsets(self) -> tuple[float, ...]:
        """(K,) what is added to the logits; mean 0."""
        return self.rounds[self.chosen].offsets


def fit_offsets(
    model: nn.Module,
    validation: Dataset,
    *,
    attack: str,
    threat: Threat,
    rounds: int,
    rate: float,
    objective: str,
    max_price: float | None,
    seed: int,
    batch_size: int,
    device: torch.device,
    progress: Progress,
) -> Adjustment:
    """Fit offsets on validation images; nothing else is looked at.

    Each round attacks the adjusted network and moves b_c by rate * s * (mean a - a_c), where a_c is the robust accuracy
    of class c and s the median distance of natural images from the decision (in logits): classes that are less robust
    than the mean are predicted more often in the next round. The best round by `objective` is taken, the first of
    equals.

    Args:
        model: in eval mode; its last layer must be linear with a bias (see `with_offsets`).
        validation: images that the network was not trained on.
        attack: an attack string, such as "pgd10".
        threat: norm and radius.
        rounds: how often offsets are moved, at least 1.
        rate: how far.
        objective: "sum" (average + worst class) or "worst-class", both under the attack.
        max_price: by how many points (of 100) the average under the attack may fall; None: no limit.
        seed: of the attack's noise, the same in every round.
        batch_size: images per block.
        device: where.
        progress: what to report to.

    Raises:
        BadInput: an unknown objective, a number out of range, or a network whose logits cannot be moved.
    """
    if objective not in get_args(Objective):
        raise unknown("objective", objective, get_args(Objective))
    if rounds < 1 or not rate > 0 or (max_price is not None and not max_price >= 0):
        raise BadInput(
            f"a fit needs at least 1 round, a rate above 0 and a price of 0 or more, but has {rounds}, {rate} and "
            f"{max_price}."
        )
    offsets, scale, tried = np.zeros(validation.num_classes), 0.0, []
    bar = progress.start("validation rounds", rounds + 1, 0)
    for place in range(rounds + 1):
        adjusted = with_offsets(model, offsets.tolist(), validation)
        with exact_arithmetic(None):
            table = attack_table(
                adjusted, validation, [attack], threat=threat, seed=seed, batch_size=batch_size, device=device
            )
        robust = class_accuracy(table.labels(attack), table.robust(attack), validation.num_classes)
        if place == 0:
            scale = float(np.median(np.abs(table.of(NATURAL)["margin"].to_numpy().astype(np.float64))))
        tried.append(
            Round(
                tuple(offsets.tolist()),
                float(table.robust(NATURAL).mean()),
                float(table.robust(attack).mean()),
                worst_class_accuracy(robust),
            )
        )
        offsets = moved(offsets, robust, rate * scale)
        progress.advance(bar, 1)
    progress.finish(bar)
    return Adjustment(tuple(tried), best_round(tried, objective, max_price))


def moved(offsets: Floats, robust: Floats, step: float) -> Floats:
    """Return (K,) offsets of mean 0 after one step towards less robust classes; an absent one counts as the mean."""
    there = offsets + step * np.nan_to_num(np.nanmean(robust) - robust, nan=0.0)
    result: Floats = there - there.mean()
    return result


def best_round(rounds: Sequence[Round], objective: str, max_price: float | None) -> int:
    """Return the first round with the largest objective, of those whose average falls by at most `max_price` points."""
    limit = -np.inf if max_price is None else rounds[0].average - max_price / 100 - 1e-9
    allowed = [place for place, one in enumerate(rounds) if one.average >= limit]
    values = [round_.worst + (round_.average if objective == "sum" else 0.0) for round_ in rounds]
    return min(allowed, key=lambda place: (-round(values[place], 9), place))


def with_offsets(model: nn.Module, offsets: Sequence[float], data: Dataset) -> nn.Module:
    """Return a copy of `model` whose last layer's bias holds the offsets: the same architecture, and no new parameter.

    Raises:
        BadInput: the network has no linear last layer with a bias, or another number of classes.
    """
    device = next(model.parameters()).device
    found = find_classifier(model, first_images(data, 1, device)[0])
    if found is None or found[1].bias is None:
        what = "no linear layer that gives its logits" if found is None else "a last layer without a bias"
        raise BadInput(
            f"an adjustment of logits needs a network whose last layer is linear with a bias, but this one has {what}."
        )
    name, layer = found
    if layer.out_features != len(offsets):
        raise BadInput(
            f"{len(offsets)} offsets do not fit a network of {layer.out_features} classes; give one of each."
        )
    adjusted = copy.deepcopy(model)
    bias = adjusted.get_submodule(name).bias
    assert isinstance(bias, torch.Tensor)
    with torch.no_grad():
        bias += torch.tensor(list(offsets), dtype=torch.float64).to(bias)
    return adjusted
