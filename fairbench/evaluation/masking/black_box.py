"""Flags of attacks without the model's gradients: Square, and examples made on another network.

Both attack what a short white-box attack leaves. Since that one is short, each image they break is attacked again at
length; only one that withstands counts, and more than 0.2 % of such images raise the flag (the tolerance that the
original AutoAttack has for Square).

Shape key: N images.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from torch import Tensor, nn

from fairbench.attacks.square import square
from fairbench.evaluation.masking.decide import Bools, Ints, share_flags, share_flags_of_looks
from fairbench.evaluation.masking.rows import BLACK_BOX_TOLERANCE, SQUARE_EVIDENCE
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


def square_flags(
    target: Target, left: Callable[[], Bools], further: Sequence[Callable[[], Target]]
) -> list[dict[str, Any]]:
    """Run Square on the survivors; where it breaks some, but too few to decide, on further images too.

    Networks on which Square wins by less than a point of robust accuracy (partial masking) take 500 to 2,000 images.

    Args:
        target: the check's images.
        left: its survivors (N,).
        further: makes other images, in this order.
    """

    def looks() -> Iterator[tuple[Bools, Ints]]:
        yield _square_alone(target, left()), target.labels
        for make in further:
            more = make()
            yield _square_alone(more, survivors(more)), more.labels

    return share_flags_of_looks(
        "square-wins", looks(), 1 + len(further), share=BLACK_BOX_TOLERANCE,
        evidence=SQUARE_EVIDENCE.replace("{after}", "long attacks with gradients"),
    )  # fmt: skip


def _square_alone(target: Target, left: Bools) -> Bools:
    """Return which images (N,) Square breaks and long attacks with gradients don't."""
    # The copy recomputes only what a square changes; that what it finds fools the model itself is checked.
    copy = attack_copy(target.model, target.x[:8])
    threat = target.threat

    def attack(model: nn.Module, x: Tensor, y: Tensor, random: SampleRandom) -> Tensor:
        return square(copy, x, y, eps=threat.eps, random=random, norm=threat.norm, queries=QUERIES)

    return _withstood(target, target.broken_by(attack, target.places(left), "square"))


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
