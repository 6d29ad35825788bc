"""When counts raise a flag: exact tests, for the whole model and for each class.

Every test asks whether the counts could come from an honest model. Its level is 0.001, and the classes of one flag
share it (Holm): a check makes about ten tests for the model and as many for classes, so an honest model that stands
exactly at the tolerances is flagged once in fifty checks, and one below them more rarely.

Shape key: N images.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import binom

from fairbench.evaluation.masking.registry import flag
from fairbench.metrics.paired import holm, mcnemar_one_sided

Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.integer[Any]]
#: The level of a test.
LEVEL = 1e-3
#: The share of images that may show a sign: what it hides moves a robust accuracy by at most one point.
TOLERANCE = 0.01


def more_than(hits: int, total: int, share: float) -> float:
    """Return P(X >= hits) for X ~ Binomial(total, share): are there more hits than a share allows?"""
    return float(binom.sf(hits - 1, total, share))


def share_flags(name: str, hits: Bools, labels: Ints, *, share: float, evidence: str) -> list[dict[str, Any]]:
    """Return the flag of each group of images (all, each class) that shows a sign more often than `share` allows.

    Args:
        name: of the flag.
        hits: (N,) which images show the sign.
        labels: (N,) their classes.
        share: of images that may show it.
        evidence: the sentence, with {hits} and {total}.
    """
    return _decide(
        name, labels, lambda group: more_than(int(hits[group].sum()), int(group.sum()), share),
        lambda group: evidence.format(hits=int(hits[group].sum()), total=int(group.sum())),
    )  # fmt: skip


def paired_flags(name: str, surprising: Bools, expected: Bools, labels: Ints, *, evidence: str) -> list[dict[str, Any]]:
    """Return the flag of each group where more images changed in the surprising direction than in the expected one.

    By the one-sided exact McNemar test: both equally many is still no flag.

    Args:
        name: of the flag.
        surprising: (N,) images that only the weaker attack broke.
        expected: (N,) images that only the stronger one broke.
        labels: (N,) their classes.
        evidence: the sentence, with {surprising} and {expected}.
    """
    return _decide(
        name, labels, lambda group: mcnemar_one_sided(int(surprising[group].sum()), int(expected[group].sum())),
        lambda group: evidence.format(
            surprising=int(surprising[group].sum()), expected=int(expected[group].sum())
        ),
    )  # fmt: skip


def _decide(
    name: str, labels: Ints, p_value: Callable[[Bools], float], evidence: Callable[[Bools], str]
) -> list[dict[str, Any]]:
    """Flag the whole, and the classes that show it alone; where most classes do, the whole says that for them."""
    classes = np.unique(labels)
    adjusted = holm([p_value(labels == label) for label in classes])
    alone = [int(label) for label, p in zip(classes, adjusted, strict=True) if p < LEVEL]
    found = []
    if len(labels) and p_value(np.ones(len(labels), dtype=bool)) < LEVEL:
        where = f" (in {len(alone)} of {len(classes)} classes on its own)" if len(alone) > 1 else ""
        found.append(flag(name, evidence(np.ones(len(labels), dtype=bool)) + where))
        if 2 * len(alone) > len(classes):
            return found
    return found + [flag(name, evidence(labels == label), label) for label in alone]
