"""AutoAttack's parts with our own attacks: on copies of the model, samples leave, states survive an interruption.

Shape key: b samples that are left, C H W image.
"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

from fairbench.attacks import AttackConfig
from fairbench.attacks.attack_memory import AttackMemory
from fairbench.attacks.autoattack import PARTS
from fairbench.attacks.named import named_function
from fairbench.attacks.survivors import Success
from fairbench.evaluation.cascade import Part
from fairbench.evaluation.networks import Networks
from fairbench.models.attack_copy import AttackCopy, Precision, attack_copy
from fairbench.sample_random import SampleRandom
from fairbench.threat import Threat

#: bfloat16 has 8 significant bits: how far the lead of a label may be off, as a share of the largest logit.
BF16_DOUBT = 2.0**-6


def part_precision(name: str, precision: Precision) -> Precision:
    """Return in which precision a part attacks in a run of `precision`."""
    return "float32" if precision == "bf16" and not name.startswith("apgd") else precision


def native_parts(
    config: AttackConfig, nets: Networks, threat: Threat, *, num_classes: int, seed: int, example: Tensor
) -> tuple[Part, ...]:
    """Return the parts of the cascade that `config` names.

    Each part attacks a copy of the model. Under bf16 APGD's copy is bfloat16; it misses examples as often as it invents
    them, so that the judge is asked about what it calls right by a narrow lead, too. Square accepts proposals for tiny
    differences of logits, and FAB walks along the boundary itself, where bfloat16 sees another one: their copies are
    float32 at least.

    Args:
        config: of the family "aa".
        nets: the networks of the evaluation.
        threat: norm and radius.
        num_classes: K.
        seed: of all noise.
        example: (b, C, H, W) some images, the same in every process, from which copies are made.
    """

    @cache
    def copied(precision: Precision) -> AttackCopy:
        return attack_copy(nets.original, example, precision=precision)

    def part(name: str, keywords: dict[str, object]) -> Part:
        place, fixed = PARTS[name]
        attack = named_function(place)
        precision = part_precision(name, nets.precision)
        if precision == "bf16":
            keywords = {**keywords, "doubt": BF16_DOUBT}

        def run(x: Tensor, y: Tensor, *, index: Tensor, success: Success, memory: AttackMemory | None) -> Tensor:
            if nets.random:
                # Its noise is keyed by the number of the forward, which no memory keeps: a block begins anew.
                network, layout, memory = nets.gradient, torch.contiguous_format, None
            else:
                copy = copied(precision)
                network, layout = copy, copy.memory_format
            x_adv: Tensor = attack(
                network, x.contiguous(memory_format=layout), y, eps=threat.eps, norm=threat.norm,
                random=SampleRandom(seed, name, index), success=success, memory=memory, **fixed, **keywords,
            )  # fmt: skip
            return x_adv

        return Part(name, run)

    return tuple(part(*item) for item in config.resolved(threat, num_classes)["parts"].items())
