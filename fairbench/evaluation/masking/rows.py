"""Flags that cost nothing: what the outcome table of a run shows already.

Shape key: N images.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from fairbench.attacks import AttackConfig
from fairbench.evaluation.masking.decide import TOLERANCE, Bools, Ints, paired_flags, share_flags
from fairbench.outcomes import NATURAL, Outcomes
from fairbench.threat import Threat

#: What Square may break after the white-box parts: the tolerance of the original AutoAttack (0.2 points), as a share.
BLACK_BOX_TOLERANCE = 0.002
#: Margins that differ by less, relatively, are equal in float32.
_ROUNDING = 1e-4
#: Attacks of one objective: with more steps they are stronger.
_PLAIN = ("fgsm", "pgd")


def row_flags(
    outcomes: Outcomes, configs: Sequence[AttackConfig], threat: Threat, *, units: Sequence[str]
) -> list[dict[str, Any]]:
    """Return the flags of a finished table; none at radius 0, where nothing can be broken.

    Args:
        outcomes: the rows of natural images, attacks and parts of cascades.
        configs: the attacks.
        threat: norm and radius.
        units: the names of the table's attacks and parts in the order in which they ran.
    """
    if threat.eps == 0:
        return []
    labels = outcomes.labels()
    return [
        *_margin_not_lowered(outcomes, configs, labels),
        *_fewer_steps_win(outcomes, configs, labels),
        *_square_wins(outcomes, configs, labels, units),
        *_plain_attack_wins(outcomes, configs, labels),
    ]


def _margin_not_lowered(outcomes: Outcomes, configs: Sequence[AttackConfig], labels: Ints) -> list[dict[str, Any]]:
    """Any gradient that is worth its name lowers the margin of nearly every image."""
    right = outcomes.robust(NATURAL)
    natural = outcomes.of(NATURAL)["margin"].to_numpy()
    found = []
    for config in configs:
        # One step of the whole radius may overshoot on an honest network; the loss at a temperature is another one.
        if config.family not in ("pgd", "cw"):
            continue
        # Equal is allowed: a verified network can be flat around an image.
        raised = outcomes.of(config.name)["margin"].to_numpy() > natural * (1 + _ROUNDING)
        found += share_flags(
            "margin-not-lowered", raised[right], labels[right], share=TOLERANCE,
            evidence=config.name + " raised the margin on {hits} of {total} images that the model "
            "reads right",
        )  # fmt: skip
    return found


def _fewer_steps_win(outcomes: Outcomes, configs: Sequence[AttackConfig], labels: Ints) -> list[dict[str, Any]]:
    plain = [config for config in configs if config.family in _PLAIN]
    plain.sort(key=lambda config: config.steps or 1)
    found = []
    for few, many in pairwise(plain):
        if few.steps == many.steps:
            continue
        by_few, by_many = ~outcomes.robust(few.name), ~outcomes.robust(many.name)
        found += paired_flags(
            "fewer-steps-win", by_few & ~by_many, by_many & ~by_few, labels,
            evidence=few.name + " alone broke {surprising} images, " + many.name + " alone {expected}",
        )  # fmt: skip
    return found


def _square_wins(
    outcomes: Outcomes, configs: Sequence[AttackConfig], labels: Ints, units: Sequence[str]
) -> list[dict[str, Any]]:
    found = []
    for config in configs:
        parts = [unit for unit in units if unit.startswith(f"{config.name}/")]
        for before, part in pairwise(parts):
            if part.partition("/")[2].startswith("square"):
                alone = outcomes.robust(before) & ~outcomes.robust(part)
                found += square_wins(
                    alone, labels, after=", ".join(p.partition("/")[2] for p in parts[: parts.index(part)])
                )
    return found


def square_wins(alone: Bools, labels: Ints, *, after: str) -> list[dict[str, Any]]:
    """Return the flag for (N,) images that only Square broke, after the parts that `after` names."""
    return share_flags(
        "square-wins", alone, labels, share=BLACK_BOX_TOLERANCE,
        evidence="Square broke {hits} of {total} images that " + after + " did not",
    )  # fmt: skip


def _plain_attack_wins(outcomes: Outcomes, configs: Sequence[AttackConfig], labels: Ints) -> list[dict[str, Any]]:
    whole = [config.name for config in configs if config.family == "aa"]
    plain = [config.name for config in configs if config.family != "aa"]
    found = []
    for strong in whole:
        robust = outcomes.robust(strong)
        for weak in plain:
            found += share_flags(
                "plain-attack-wins", robust & ~outcomes.robust(weak), labels, share=BLACK_BOX_TOLERANCE,
                evidence=weak + " broke {hits} of {total} images that " + strong + " calls robust",
            )  # fmt: skip
    return found
