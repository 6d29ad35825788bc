"""The outcome table of a model without a run folder: what training validates with."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import nn

from fairbench.attacks import parse_attacks
from fairbench.data.dataset import Dataset
from fairbench.evaluation.blocks import run_units
from fairbench.evaluation.networks import Networks, frozen
from fairbench.evaluation.store import MemoryStore
from fairbench.evaluation.trust import first_images
from fairbench.evaluation.units import attack_units, natural_unit, with_final_verdicts
from fairbench.outcomes import Outcomes
from fairbench.progress import Silent
from fairbench.threat import Threat


@contextmanager
def eval_mode(model: nn.Module) -> Iterator[None]:
    """Put every module into eval mode and give each its own mode back."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


def attack_table(
    model: nn.Module,
    dataset: Dataset,
    attacks: Sequence[str],
    *,
    threat: Threat,
    seed: int,
    batch_size: int,
    device: torch.device | str = "cpu",
    engine: str = "native",
) -> Outcomes:
    """Return the natural rows and those of every attack; processes share the work, and each gets the whole table.

    The same arguments give the same table. The model is attacked in eval mode and given back as it was.

    Raises:
        BadInput: an attack that does not exist or does not fit the threat.
        Refused: logits that are not finite, pixels outside [0, 1], or an attack that left the ball.
    """
    configs = parse_attacks(attacks) if attacks else []
    nets = Networks(model, model, model)
    example = first_images(dataset, 2, torch.device(device))[0]
    with frozen(model), eval_mode(model):
        units = [
            natural_unit(nets, threat),
            *attack_units(
                configs, nets, threat, num_classes=dataset.num_classes, seed=seed, engine=engine, example=example
            ),
        ]
        store, place = MemoryStore(batch_size), torch.device(device)
        tables = run_units(units, dataset=dataset, store=store, device=place, progress=Silent())
    return with_final_verdicts(configs, tables)
