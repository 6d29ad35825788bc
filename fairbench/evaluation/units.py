"""The units of an evaluation: the natural predictions, each attack, each part of AutoAttack."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from fairbench.attacks import AttackConfig, attack_function
from fairbench.errors import BadInput
from fairbench.evaluation.blocks import Unit
from fairbench.evaluation.cascade import Part, part_rows
from fairbench.evaluation.examples import Keep
from fairbench.evaluation.judging import judge
from fairbench.evaluation.networks import Networks
from fairbench.evaluation.reference import reference_parts
from fairbench.outcomes import NATURAL, Outcomes
from fairbench.sample_random import SampleRandom
from fairbench.threat import Threat


def natural_unit(nets: Networks, threat: Threat) -> Unit:
    """Return the unit of unperturbed images."""

    def compute(x: Tensor, y: Tensor, index: Tensor, before: Outcomes | None) -> Outcomes:
        return judge(nets.judge, x, x, y, index, attack=NATURAL, threat=threat)

    return Unit(NATURAL, compute)


def attack_units(
    configs: Sequence[AttackConfig],
    nets: Networks,
    threat: Threat,
    *,
    num_classes: int,
    seed: int,
    keep: Keep | None = None,
) -> list[Unit]:
    """Return the units of all attacks, a cascade's parts one after the other; `keep` receives what is judged.

    Raises:
        BadInput: an attack that the norm, the radius or the number of classes does not allow.
    """
    units: list[Unit] = []
    for config in configs:
        config.resolved(threat)
        if config.family == "aa":
            before = NATURAL
            for part in reference_parts(threat.norm, threat.eps, num_classes=num_classes, seed=seed):
                units.append(_part_unit(config.name, part, before, nets, threat, keep))
                before = units[-1].name
        else:
            units.append(_attack_unit(config, nets, threat, seed, keep))
    return units


def _attack_unit(config: AttackConfig, nets: Networks, threat: Threat, seed: int, keep: Keep | None) -> Unit:
    attack = attack_function(config, threat)

    def compute(x: Tensor, y: Tensor, index: Tensor, before: Outcomes | None) -> Outcomes:
        random = SampleRandom(seed, config.name, index)
        x_adv = attack(nets.gradient, x, y, eps=threat.eps, random=random, judge=nets.judge_if_other)
        if keep is not None:
            keep(config.name, index, x_adv, x)
        return judge(nets.judge, x_adv, x, y, index, attack=config.name, threat=threat)

    return Unit(config.name, compute)


def _part_unit(attack: str, part: Part, before: str, nets: Networks, threat: Threat, keep: Keep | None) -> Unit:
    def compute(x: Tensor, y: Tensor, index: Tensor, previous: Outcomes | None) -> Outcomes:
        assert previous is not None
        return part_rows(part, nets, x, y, index, previous, attack=attack, threat=threat, keep=keep)

    return Unit(f"{attack}/{part.name}", compute, before)


def with_final_verdicts(configs: Sequence[AttackConfig], tables: Sequence[Outcomes]) -> Outcomes:
    """Join the units' rows and add each cascade's verdicts under its own name: those after its last part."""
    finals = []
    for config in configs:
        if config.family == "aa":
            parts = [table for table in tables if table.attacks[0].startswith(f"{config.name}/")]
            finals.append(Outcomes(parts[-1].frame.assign(attack=config.name)))
    return Outcomes.concat([*tables, *finals])


def check_engine(engine: str) -> None:
    """Refuse the engine that does not exist yet.

    Raises:
        BadInput: "native", or an unknown name.
    """
    if engine == "native":
        raise BadInput(
            "engine 'native' is not there yet; this version runs AutoAttack through pyautoattack: --engine reference."
        )
    if engine != "reference":
        raise BadInput(f"engine must be 'reference', but is {engine[:40]!r}.")
