"""`fairbench check`: every probe for masked gradients on a small budget, about 2,000 forwards of each of 200 images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import nn

from fairbench.attacks import parse_attacks
from fairbench.data.dataset import Dataset
from fairbench.data.registry import Normalization
from fairbench.errors import BadInput
from fairbench.evaluation.block_size import default_block_size
from fairbench.evaluation.masking import forwards
from fairbench.evaluation.masking.black_box import square_flags, survivors, transfer_flags
from fairbench.evaluation.masking.cheap import IMAGES, Probe, cheap_probes, target_of
from fairbench.evaluation.masking.rows import row_flags
from fairbench.evaluation.masking.searches import not_monotone, still_rising, unbounded_eps
from fairbench.evaluation.masking.target import Target
from fairbench.evaluation.natural_accuracy import check_natural, stratified
from fairbench.evaluation.networks import exact_arithmetic, frozen
from fairbench.evaluation.table import attack_table
from fairbench.evaluation.trust import Trust, check_mode, first_images, preflight
from fairbench.progress import Progress, Silent
from fairbench.threat import Threat

#: Whose rows show flags.
_ATTACKS = ("fgsm", "pgd20")


@dataclass(frozen=True)
class CheckResult:
    """What a check found.

    Attributes:
        flags: {name, severity, class, evidence, advice}; refusals that the person accepted first.
        images: how many were looked at.
        evaluated: the probes that ran.
        left_out: probe -> why it did not run.
    """

    flags: list[dict[str, Any]]
    images: int
    evaluated: tuple[str, ...]
    left_out: Mapping[str, str]


def check_model(
    model: nn.Module,
    dataset: Dataset,
    threat: Threat,
    *,
    trust: Trust | None = None,
    samples_per_class: int | None = None,
    batch_size: int | None = None,
    seed: int = 0,
    threads: int | None = None,
    device: torch.device | str = "cpu",
    surrogate: nn.Module | None = None,
    normalizations: Mapping[str, Normalization] | None = None,
    progress: Progress | None = None,
) -> CheckResult:
    """Look for signs of masked gradients.

    The model is moved to `device` and given back as it was in every other way.

    Args:
        model: (B, C, H, W) pixels in [0, 1] in, (B, K) logits out, in eval mode.
        dataset: the whole split.
        threat: norm and radius, above 0.
        trust: raises refusals, or keeps those accepted.
        samples_per_class: the first of each class; None: 200 images, equally spread over classes.
        batch_size: images per forward; None: fixed by the model and the images.
        seed: of all noise.
        threads: of the CPU; None: what PyTorch uses.
        device: where the model runs.
        surrogate: another network for the same images, for examples that transfer; None: not evaluated.
        normalizations: those to try, as in `fairbench eval`.
        progress: what to report to.

    Raises:
        BadInput: a radius of 0.
        Refused: what `eval` refuses.
    """
    if threat.eps == 0:
        raise BadInput("a check needs a radius above 0, but eps is 0; give one with --eps, such as 8/255.")
    trust, progress, device = trust or Trust(), progress or Silent(), torch.device(device)
    model.to(device)
    if samples_per_class is None:
        chosen = dataset.take(stratified(dataset, IMAGES), selection=f"{IMAGES} spread over the classes")
    else:
        chosen = dataset.first_per_class(samples_per_class)
    with frozen(model), exact_arithmetic(threads):
        preflight(model, chosen, trust, device)
        size = batch_size or default_block_size(model, first_images(chosen, 1, device)[0])
        target = target_of(model, chosen, threat, batch_size=size, seed=seed, device=device)
        forwards.check_repeats(target, trust)
        check_natural(model, dataset, normalizations or {}, trust, device)
        probes, left_out = _probes(target, chosen, surrogate)
        flags = []
        bar = progress.start("check", len(probes), 0)
        for probe in probes.values():
            flags += probe()
            progress.advance(bar)
        progress.finish(bar)
        check_mode(model, trust)
    return CheckResult([*trust.flags, *flags], len(chosen), tuple(probes), left_out)


def _probes(target: Target, dataset: Dataset, surrogate: nn.Module | None) -> tuple[dict[str, Probe], dict[str, str]]:
    """Return the probes by what they look at, cheap ones first, and why others are left out."""
    left_out = {}
    probes = cheap_probes(target)
    if target.threat.norm == "L1":
        left_out["FGSM and PGD"] = left_out["PGD's progress"] = "PGD is not defined in L1"
    else:
        probes["FGSM and PGD"] = lambda: _row_flags(target, dataset)
        probes["PGD's progress"] = lambda: still_rising(target)
    probes["other radii"] = lambda: not_monotone(target)
    probes["unbounded radius"] = lambda: unbounded_eps(target)
    left = cache(lambda: survivors(target))
    probes["Square"] = lambda: square_flags(target, left())
    if surrogate is None:
        left_out["transfer"] = "give another network's checkpoint with --transfer-from"
    elif target.threat.norm == "L1":
        left_out["transfer"] = "PGD is not defined in L1"
    else:
        probes["transfer"] = lambda: transfer_flags(target, left(), surrogate)
    return probes, left_out


def _row_flags(target: Target, dataset: Dataset) -> list[dict[str, Any]]:
    table = attack_table(
        target.model, dataset, _ATTACKS, threat=target.threat, seed=target.seed, batch_size=target.batch_size,
        device=target.x.device,
    )  # fmt: skip
    return row_flags(table, parse_attacks(_ATTACKS), target.threat, units=table.attacks)
