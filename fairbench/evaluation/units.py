"""The units of an evaluation: the natural predictions, each attack, each part of AutoAttack."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from fairbench.attacks import AttackConfig, attack_function
from fairbench.errors import unknown
from fairbench.evaluation.blocks import Unit, Work
from fairbench.evaluation.cascade import Part, part_rows
from fairbench.evaluation.examples import Keep
from fairbench.evaluation.gradient_watch import GradientWatch
from fairbench.evaluation.judging import judge
from fairbench.evaluation.native import native_parts
from fairbench.evaluation.networks import Networks
from fairbench.evaluation.reference import check_reference, reference_parts
from fairbench.evaluation.work_left import attack_cost, part_cost
from fairbench.outcomes import NATURAL, Outcomes
from fairbench.sample_random import SampleRandom
from fairbench.threat import Threat

#: What can run AutoAttack: our own parts, or the package `pyautoattack`.
ENGINES = ("native", "reference")


def natural_unit(nets: Networks, threat: Threat) -> Unit:
    """Return the unit of unperturbed images."""

    def compute(work: Work) -> Outcomes:
        nets.begin(NATURAL, work.x, work.index)
        return judge(nets.judge, work.x, work.x, work.y, work.index, attack=NATURAL, threat=threat)

    return Unit(NATURAL, compute)


def attack_units(
    configs: Sequence[AttackConfig],
    nets: Networks,
    threat: Threat,
    *,
    num_classes: int,
    seed: int,
    engine: str,
    example: Tensor,
    keep: Keep | None = None,
) -> list[Unit]:
    """Return the units of all attacks, a cascade's parts one after the other; `keep` receives what is judged.

    `example` (b, C, H, W) are some images, the same in every process.

    Raises:
        BadInput: an attack that the norm, the radius, the number of classes or the engine does not allow.
    """
    units: list[Unit] = []
    for config in configs:
        config.check(threat)
        if config.family == "aa":
            check_engine(engine, config, num_classes)
            before = NATURAL
            if engine == "native":
                parts = native_parts(config, nets, threat, num_classes=num_classes, seed=seed, example=example)
            else:
                parts = reference_parts(nets, threat, num_classes=num_classes, seed=seed)
            keywords = config.resolved(threat, num_classes)["parts"]
            for part in parts:
                cost = part_cost(part.name, keywords[part.name], num_classes)
                units.append(_part_unit(config.name, part, before, nets, threat, keep, cost))
                before = units[-1].name
        else:
            cost = attack_cost(config.resolved(threat, num_classes))
            units.append(_attack_unit(config, nets, threat, seed, keep, cost))
    return units


def _attack_unit(
    config: AttackConfig, nets: Networks, threat: Threat, seed: int, keep: Keep | None, cost: float
) -> Unit:
    attack = attack_function(config, threat)

    def compute(work: Work) -> Outcomes:
        x, y, index = work.x, work.y, work.index
        nets.begin(config.name, x, index)
        # Not keyed by the attack's name: attacks that differ in a keyword begin at the same point, and T = 1 is PGD.
        random = SampleRandom(seed, "attack", index)
        watch = GradientWatch(nets.gradient, len(y))
        x_adv = attack(watch, x, y, eps=threat.eps, random=random, judge=nets.judge_if_other)
        if keep is not None:
            keep(config.name, index, x_adv, x)
        rows = judge(nets.judge, x_adv, x, y, index, attack=config.name, threat=threat)
        watch.refuse(torch.from_numpy(rows.robust(config.name)), config.name)
        return rows

    return Unit(config.name, compute, cost=cost)


def _part_unit(
    attack: str, part: Part, before: str, nets: Networks, threat: Threat, keep: Keep | None, cost: float
) -> Unit:
    def compute(work: Work) -> Outcomes:
        nets.begin(f"{attack}/{part.name}", work.x, work.index)
        return part_rows(part, nets.judge, work, attack=attack, threat=threat, keep=keep)

    return Unit(f"{attack}/{part.name}", compute, before, cost)


def with_final_verdicts(configs: Sequence[AttackConfig], tables: Sequence[Outcomes]) -> Outcomes:
    """Join the units' rows and add each cascade's verdicts under its own name: those after its last part."""
    finals = []
    for config in configs:
        if config.family == "aa":
            parts = [table for table in tables if table.attacks[0].startswith(f"{config.name}/")]
            finals.append(Outcomes(parts[-1].frame.assign(attack=config.name)))
    return Outcomes.concat([*tables, *finals])


def check_engine(engine: str, config: AttackConfig | None = None, num_classes: int = 0) -> None:
    """Refuse an engine that does not exist, or that cannot run the cascade `config` names.

    Raises:
        BadInput: it is unknown, or too narrow.
    """
    if engine not in ENGINES:
        raise unknown("engine", engine, ENGINES)
    if engine == "reference" and config is not None:
        check_reference(config, num_classes)
