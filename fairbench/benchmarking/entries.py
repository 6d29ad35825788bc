"""What a leaderboard is made of: each row's finished seeds, and why others are missing."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fairbench.benchmarking.results import INACTIVE_BELOW, SeedResult
from fairbench.benchmarking.suites import Row, Suite
from fairbench.methods import METHODS

#: What a training spends, in images through a network.
PASSES = ("forwards", "backwards", "teacher_forwards", "teacher_backwards")


@dataclass(frozen=True)
class Entry:
    """One row: the seeds that are finished, and why the others are not ({seed: reason})."""

    row: Row
    seeds: tuple[SeedResult, ...]
    missing: Mapping[int, str]

    def values(self, attack: str, metric: str) -> list[float]:
        """Return one number per finished seed."""
        return [one.value(attack, metric) for one in self.seeds]

    def paired(self, other: Entry, attack: str, metric: str) -> tuple[list[float], list[float]]:
        """Return the numbers of both on the seeds for which both have one: the NSD of accuracies of 0 is undefined."""
        theirs = {one.seed: one.value(attack, metric) for one in other.seeds}
        ours = {one.seed: one.value(attack, metric) for one in self.seeds}
        ours = {seed: value for seed, value in ours.items() if not math.isnan(value - theirs.get(seed, math.nan))}
        return list(ours.values()), [theirs[seed] for seed in ours]

    def rho(self, baseline: Entry | None, attack: str) -> float:
        """Return the mean rho over the baseline, on the seeds that both have; NaN where there are none."""
        pairs = {one.seed: one for one in baseline.seeds} if baseline else {}
        return mean([one.rho_over(pairs[one.seed], attack) for one in self.seeds if one.seed in pairs])

    def is_equal(self, buffer: str) -> bool:
        """Return whether a value that the method applies by class hardly differed between classes in any seed."""
        return all(one.ranges.get(buffer, 0.0) < INACTIVE_BELOW for one in self.seeds)

    def passes(self) -> float:
        """Return the mean over seeds of all forwards and backwards, of teachers too; NaN without a seed."""
        return mean([sum(one.cost.get(name, 0) for name in PASSES) for one in self.seeds])


@dataclass(frozen=True)
class Board:
    """A suite's entries; `teachers` are {role: {attack: metrics}} of those that are finished."""

    suite: Suite
    entries: tuple[Entry, ...]
    teachers: Mapping[str, Mapping[str, Any]]

    def entry(self, name: str) -> Entry | None:
        """Return a row's entry, None where it is not in this call."""
        return next((entry for entry in self.entries if entry.row.name == name), None)

    def ranked(self) -> list[Entry]:
        """Return the entries by their mean worst class under the ranking attack; those that lack seeds come last."""

        def key(entry: Entry) -> tuple[bool, bool, float, float]:
            worst, average = (entry.values(self.suite.ranked_by, metric) for metric in ("worst_class", "average"))
            return not self.has_rank(entry), not worst, -mean(worst or [0.0]), -mean(average or [0.0])

        return sorted(self.entries, key=key)

    def has_rank(self, entry: Entry) -> bool:
        """Return whether it has every seed that any row has: means over different seeds are not in one order."""
        seeds = {one.seed for one in entry.seeds}
        return bool(seeds) and seeds == {one.seed for other in self.entries for one in other.seeds}


def remarks(entry: Entry) -> str:
    """Return what the row has of its own, "inactive", and why seeds are missing, in words."""
    row, words = entry.row, []
    if row.start is not None:
        words.append("after {1} epochs of {0}".format(*row.start))
    if row.lr is not None:
        words.append(f"learning rate {row.lr}")
    if (scale := METHODS[row.method].common_scale) is not None:
        words.append(f"loss times {scale:g}")
    if row.remark:
        words.append(row.remark)
    idle = sum(one.inactive for one in entry.seeds)
    if idle:
        words.append("inactive" if idle == len(entry.seeds) else f"inactive in {idle} of {len(entry.seeds)} seeds")
    equal = [name for name in (entry.seeds[0].ranges if entry.seeds else ()) if entry.is_equal(name)]
    if equal and idle < len(entry.seeds):
        words.append(f"no difference between classes in {' and '.join(equal)}")
    reasons: dict[str, list[int]] = {}
    for seed, reason in entry.missing.items():
        reasons.setdefault(reason, []).append(seed)
    for reason, seeds in reasons.items():
        words.append(f"seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))}: {reason}")
    return "; ".join(words)


def mean(values: Sequence[float]) -> float:
    """Return the mean; NaN of nothing."""
    return float(np.mean(values)) if len(values) else math.nan
