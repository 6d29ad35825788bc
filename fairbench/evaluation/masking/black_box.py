"""Flags of attacks without the model's gradients: Square, and examples made on another network.

Both attack what a short white-box attack leaves. Since that one is short, each image they break is attacked again at
length; only one that withstands counts, and more than 0.2 % of such images raise the flag (the tolerance that the
original AutoAttack has for Square).

Shape key: N images.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor, nn

from fairbench.attacks.square import square
from fairbench.evaluation.masking.decide import Bools, share_flags
from fairbench.evaluation.masking.rows import BLACK_BOX_TOLERANCE, square_wins
from fairbench.evaluation.masking.searches import STEPS, apgd_ce, apgd_t, gradient_descent
from fairbench.evaluation.masking.target import Target
from fairbench.models.attack_copy import attack_copy
from fairbench.sample_random import SampleRandom

#: Square's queries per image; AutoAttack has 5,000.
QUERIES = 1000


def survivors(target: Target) -> Bools:
    """Return (N,) which images a short white-box attack (APGD on the cross-entropy, then targeted) leaves robust."""
    left: Bools = np.asarray(target.right.cpu().numpy())
    for name, attack in (("apgd-ce", apgd_ce(target.threat)), ("apgd-t", apgd_t(target.threat))):
        left = left & ~target.broken_by(attack, target.places(left), name)
    return left


def square_flags(target: Target, left: Bools) -> list[dict[str, Any]]:
    """Run Square on the survivors (N,)."""
    # The copy recomputes only what a square changes; that what it finds fools the model itself is checked.
    copy = attack_copy(target.model, target.x[:8])
    threat = target.threat

    def attack(model: nn.Module, x: Tensor, y: Tensor, random: SampleRandom) -> Tensor:
        return square(copy, x, y, eps=threat.eps, random=random, norm=threat.norm, queries=QUERIES)

    alone = _withstood(target, target.broken_by(attack, target.places(left), "square"))
    return square_wins(alone, target.labels, after="long attacks with gradients")


def transfer_flags(target: Target, left: Bools, surrogate: nn.Module) -> list[dict[str, Any]]:
    """Attack the survivors (N,) with examples made on `surrogate`, whatever it predicts of the natural images."""

    def attack(model: nn.Module, x: Tensor, y: Tensor, random: SampleRandom) -> Tensor:
        return gradient_descent(target.threat.norm)(surrogate, x, y, eps=target.threat.eps, random=random, steps=STEPS)

    alone = _withstood(target, target.broken_by(attack, target.places(left), "transfer"))
    return share_flags(
        "transfer-wins", alone, target.labels, share=BLACK_BOX_TOLERANCE,
        evidence="examples made on the surrogate broke {hits} of {total} images that long attacks with the model's "
        "gradients did not",
    )  # fmt: skip


def _withstood(target: Target, found: Bools) -> Bools:
    """Return which of the images found (N,) long attacks with gradients do not break."""
    long_attacks = (
        ("long apgd-ce", apgd_ce(target.threat, steps=100, restarts=5)),
        ("long apgd-t", apgd_t(target.threat, steps=100)),
    )
    for name, attack in long_attacks:
        found = found & ~target.broken_by(attack, target.places(found), name)
    return found
