"""Confusion as a directed graph: where a class's broken samples go, and from where a class attracts others'.

An edge c -> k holds the samples of class c that are predicted as k. "Broken" is every sample that is not robust, one
that was wrong before the attack included: `already_wrong` says how many those are.

Shape key: N samples, K classes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from fairbench.errors import BadInput
from fairbench.metrics.classwise import Floats, Ints
from fairbench.outcomes import NATURAL, Outcomes


@dataclass(frozen=True)
class Edge:
    """One edge: `count` samples of `source` are predicted as `target`.

    Attributes:
        source: label.
        target: prediction, another class.
        count: samples, at least 1.
        share_of_class: count / all samples of the source.
        share_of_broken: count / broken samples of the source.
    """

    source: int
    target: int
    count: int
    share_of_class: float
    share_of_broken: float


@dataclass(frozen=True)
class Flows:
    """The directed graph of one attack.

    Attributes:
        count: (K,) samples of each class.
        sent: (K,) broken samples of each class.
        received: (K,) samples of other classes that are predicted as this one.
        edges: by share of the source class, the largest first.
    """

    count: Ints
    sent: Ints
    received: Ints
    edges: tuple[Edge, ...]

    def main_target(self, label: int) -> Edge | None:
        """Return where most of a class's broken samples go (the lowest label of several); None where none is broken."""
        return self._targets.get(label)

    def main_source(self, label: int) -> Edge | None:
        """Return from where a class attracts most samples (the lowest label of several); None where from nowhere."""
        return self._sources.get(label)

    @cached_property
    def _targets(self) -> dict[int, Edge]:
        return _largest_of(self.edges, lambda edge: edge.source)

    @cached_property
    def _sources(self) -> dict[int, Edge]:
        return _largest_of(self.edges, lambda edge: edge.target)


def flows(confusion: npt.ArrayLike) -> Flows:
    """Return the graph of a (K, K) table of counts: row label, column prediction.

    Raises:
        BadInput: the table is not square, or holds something else than counts.
    """
    cells = np.asarray(confusion)
    if cells.ndim != 2 or cells.shape[0] != cells.shape[1] or cells.dtype.kind not in "iu" or (cells < 0).any():
        raise BadInput(f"a confusion table must be K x K counts, but is {cells.dtype} of shape {cells.shape}.")
    count, right = cells.sum(axis=1), np.diagonal(cells)
    sent, received = count - right, cells.sum(axis=0) - right
    c, k = np.nonzero(cells)
    c, k = c[c != k], k[c != k]
    number = cells[c, k]
    columns = (c, k, number, number / count[c], number / sent[c])
    edges = [Edge(*row) for row in zip(*(column.tolist() for column in columns), strict=True)]
    edges.sort(key=lambda edge: (-edge.share_of_class, -edge.count, edge.source, edge.target))
    return Flows(count, sent, received, tuple(edges))


class FlowsByAttack(Mapping[str, Flows]):
    """The graph of each attack by its name, from (K, K) tables; made when it is asked for, since few are."""

    def __init__(self, confusions: Mapping[str, Ints]) -> None:
        self._confusions = dict(confusions)

    def __getitem__(self, attack: str) -> Flows:
        return flows(self._confusions[attack])

    def __iter__(self) -> Iterator[str]:
        return iter(self._confusions)

    def __len__(self) -> int:
        return len(self._confusions)


def already_wrong(outcomes: Outcomes, attack: str, num_classes: int) -> Floats:
    """Return (K,) how many of a class's samples that are broken under `attack` are wrong without it, too.

    NaN everywhere where the table has no natural rows of the same samples.

    Raises:
        BadInput: the table has no such attack.
    """
    rows = outcomes.of(attack)
    if NATURAL not in outcomes.attacks:
        return np.full(num_classes, np.nan)
    natural = outcomes.of(NATURAL).set_index("index")
    if not rows["index"].isin(natural.index).all():
        return np.full(num_classes, np.nan)
    before = natural["prediction"].loc[rows["index"]].to_numpy()
    label = rows["label"].to_numpy().astype(np.int64)
    both = (before != label) & (rows["prediction"].to_numpy() != label)
    counted: Floats = np.bincount(label[both], minlength=num_classes).astype(np.float64)
    return counted


def _largest_of(edges: tuple[Edge, ...], label: Callable[[Edge], int]) -> dict[int, Edge]:
    """Return the largest edge of each label (the lowest source, then target, of several)."""
    found: dict[int, Edge] = {}
    for edge in sorted(edges, key=lambda edge: (-edge.count, edge.source, edge.target)):
        found.setdefault(label(edge), edge)
    return found
