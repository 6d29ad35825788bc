"""Tables of finished AutoAttack runs, on which races are replayed: what broke every sample is known.

Only the order of drawing differs between replays; it is the one in which the command draws under that seed.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from race_profiles import Bools, Table

from fairbench.attacks.budget import part_budget
from fairbench.errors import BadInput
from fairbench.metrics.race_draws import ROUND, draw_order
from fairbench.outcomes import NATURAL
from fairbench.runs import Run, read_run


class RealRun:
    """A finished run of one AutoAttack: what broke each sample.

    A part costs its published budget for every sample that enters it, as the command counts: a sample that a part
    breaks does not enter the next.

    Raises:
        BadInput: no finished run, or one without exactly one AutoAttack of several parts.
    """

    cifar = False

    def __init__(self, folder: Path) -> None:
        run = read_run(folder)
        self.name, self.batch = run.name, min(int(run.record.get("block_size", ROUND)), ROUND)
        self.attack, parts = _cascade(run)
        k, outcomes = run.num_classes, run.outcomes
        first, *later = [outcomes.robust(f"{self.attack}/{part}") for part in parts]
        cheap, *rest = [part_budget(part, keywords, k).forwards for part, keywords in parts.items()]
        self.labels, self.broken, self.first = outcomes.labels(self.attack), ~outcomes.robust(self.attack), first
        #: (N,) forwards of each sample after the first part.
        self.cost = sum(
            (budget * before for budget, before in zip(rest, [first, *later[:-1]], strict=True)),
            start=np.zeros(len(first), dtype=np.int64),
        )
        self.entered = cheap * int(outcomes.robust(NATURAL).sum())
        self.count = np.bincount(self.labels, minlength=k)
        self.survivors = np.bincount(self.labels[first], minlength=k)
        self.robust = np.bincount(self.labels[~self.broken], minlength=k)
        self._budget = ", ".join(f"{part} {n:,}" for part, n in zip(parts, (cheap, *rest), strict=True))
        self._standard = run.record["attacks"][self.attack].get("version") == "standard"

    def describe(self) -> str:
        """Return one line: the images, the cascade and its cost, and what it left of each class."""
        kind = "AutoAttack" if self._standard else "NOT the standard AutoAttack"
        left = " ".join(f"{first}>{full}" for first, full in zip(self.survivors, self.robust, strict=True))
        return (
            f"{self.name}: {len(self.labels)} images, {self.attack} ({kind}; forwards of a survivor: {self._budget}); "
            f"robust after its first part > in the full run, by class: {left}"
        )

    def worst(self) -> tuple[float, int]:
        """Return the worst class's accuracy, about which thresholds are asked, and the number of its samples."""
        accuracy = np.where(self.count > 0, self.robust / np.maximum(self.count, 1), np.inf)
        return float(accuracy.min()), int(self.count[accuracy.argmin()])

    def table(self, random: np.random.Generator, race: int) -> Table:
        """Return the table with the order in which the command draws under the seed `race`."""
        return ReplayedTable(self, race)


class ReplayedTable:
    """A real run's verdicts in the order of one seed."""

    def __init__(self, run: RealRun, seed: int) -> None:
        self._run, self._spent = run, run.entered
        self.survivors, self.robust, self.count = run.survivors, run.robust, run.count
        mine = [np.flatnonzero(run.first & (run.labels == label)) for label in range(len(run.count))]
        self._order = [draw_order(seed, label, samples) for label, samples in enumerate(mine)]
        self._used = np.zeros(len(run.count), dtype=np.int64)

    def deal(self, label: int, size: int) -> Bools:
        rows = self._order[label][self._used[label] : self._used[label] + size]
        self._used[label] += size
        self._spent += int(self._run.cost[rows].sum())
        return np.asarray(self._run.broken[rows])

    def share(self) -> float:
        return self._spent / (self._run.entered + int(self._run.cost.sum()))


def _cascade(run: Run) -> tuple[str, dict[str, dict[str, object]]]:
    """Return the name of the run's AutoAttack and the keywords of its parts."""
    attacks = run.record.get("attacks", {})
    found = {name: words["parts"] for name, words in attacks.items() if len(words.get("parts") or ()) > 1}
    if len(found) != 1:
        raise BadInput(
            f"a race is replayed on a run of one AutoAttack with several parts, but {run.name} has "
            f"{', '.join(found) or 'none'} among {', '.join(attacks)[:100]}; evaluate with --attacks aa."
        )
    return next(iter(found.items()))
