"""Which class is the worst of the full run, from full verdicts on as few samples as decide it.

Every class starts with the samples that a cheap attack left unbroken. A race says of which class the next samples must
get the full attack's verdict, and takes verdicts; a class leaves when the evidence says that it is not the worst. Only
full verdicts remove a class. The statistics are in `fairbench.metrics.race_evidence`.

Why the answer holds. Let w be the worst class of the full run (the first, where several are). For another class c, the
evidence against "w is no more robust than c" is at most a product of two supermartingales, so are averages over c with
weights fixed before sampling. w leaves only if such an average reaches 1 / error, which has probability at most
`error` = 1 - confidence, at whatever time the race stops and however it chose its samples. No union over classes is
paid: only the removal of w is an error. The probability is over the random order in which samples are drawn.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fairbench.errors import BadInput
from fairbench.metrics.race_draws import FIRST, ROUND, Draws, Ints, error_of, want
from fairbench.metrics.race_evidence import PRIOR, at_least, not_above


@dataclass(frozen=True)
class Answer:
    """The worst class of the full run.

    Attributes:
        worst: the class; of several equal ones that are all known exactly, the first.
        tied: all classes that are exactly as bad, `worst` among them.
        robust: how many of its samples the full run leaves robust: exact.
        count: how many samples it has.
        certain: every other class was excluded for sure, without the probability `1 - confidence`.
    """

    worst: int
    tied: tuple[int, ...]
    robust: int
    count: int
    certain: bool


class Race:
    """The race for the worst class.

    Args:
        survivors: (K,) samples that the cheap attack left unbroken.
        count: (K,) samples.
        confidence: with which the answer is the full run's.
        prior: of `race_evidence`.
    """

    def __init__(
        self,
        survivors: npt.ArrayLike,
        count: npt.ArrayLike,
        *,
        confidence: float = 0.95,
        prior: tuple[float, float] = PRIOR,
    ) -> None:
        self.draws = Draws(survivors, count, prior=prior)
        self.error = error_of(confidence)
        self.active = self.draws.count > 0
        # Weights of opponents, fixed by the cheap attack alone; 1/2, 1/6, 1/12, ... sum to less than 1.
        order = np.argsort(np.where(self.active, self.draws.survivors / np.maximum(self.draws.count, 1), np.inf))
        rank = np.empty(len(order))
        rank[order] = np.arange(1, len(order) + 1)
        self._needed = -np.log(self.error) + np.log(rank * (rank + 1))
        self._contenders: list[int] = np.flatnonzero(self.active).tolist()
        self._leader, self._best = -1, np.empty(0)
        self._compare()

    def next_draws(self, size: int = ROUND) -> dict[int, int]:
        """Return {class: samples that need verdicts}, at most `size` together; empty when the answer stands."""
        draws, wanted = self.draws, dict[int, int]()
        first = np.flatnonzero(self.active & (draws.drawn < FIRST))
        if self.active.sum() > 1:
            for label in first[np.argsort(draws.drawn[first], kind="stable")]:
                want(wanted, int(label), FIRST - int(draws.drawn[label]), draws, size)
        if not wanted:
            # The leader is drawn to its end: its accuracy is part of the answer, and what is exact costs no evidence.
            want(wanted, self._leader, size, draws, size)
            rivals = np.flatnonzero(self.active)
            for label in rivals[np.argsort(draws.estimate()[rivals], kind="stable")]:
                if label != self._leader:
                    want(wanted, int(label), FIRST, draws, size)
        return wanted

    def observe(self, label: int, broken: npt.ArrayLike) -> None:
        """Take the full attack's verdicts on samples of class `label`: (n,), True where it was broken.

        Raises:
            BadInput: more verdicts than there are survivors left.
        """
        self.draws.observe(label, broken)
        self._compare(label)

    def answer(self) -> Answer:
        """Return the answer; the race must be over.

        Raises:
            BadInput: it is not.
        """
        if self.next_draws():
            raise BadInput(
                "the race is not over: observe() the verdicts that next_draws() asks for, until it asks for none."
            )
        draws = self.draws
        robust = draws.survivors - draws.broken
        low = self._leader
        # Whole numbers: equal accuracies are equal.
        exact = [c for c in np.flatnonzero(self.active) if robust[c] * draws.count[low] == robust[low] * draws.count[c]]
        worst = int(exact[0])
        as_bad = int(robust[low]) * draws.count // draws.count[low]
        others = (int(c) for c in np.flatnonzero(draws.count > 0) if c not in exact)
        certain = all(draws.least_ratio(c, 0, int(as_bad[c])) == np.inf for c in others)
        return Answer(worst, tuple(int(c) for c in exact), int(robust[worst]), int(draws.count[worst]), certain)

    def limits(self) -> tuple[Ints, Ints]:
        """Return the least and the most samples of each class that the full run can leave robust, (K,) each.

        `most` is what no verdict has broken. `least` trusts the answer: no class is less accurate than the worst. The
        race must be over.

        Raises:
            BadInput: it is not.
        """
        answer, draws = self.answer(), self.draws
        most = draws.survivors - draws.broken
        as_bad = -(-answer.robust * draws.count // answer.count)  # ceil(r N' / N) in whole numbers
        # The minimum matters only where the answer is wrong and later verdicts show it.
        return np.minimum(np.maximum(most - draws.left, as_bad), most), most

    def _compare(self, label: int | None = None) -> None:
        """Find the leader and remove whom the evidence removes; `label` is the class that is new, None: all are."""
        draws = self.draws
        leader = min(self._contenders, key=draws.expected.__getitem__)
        if label is None or leader != self._leader or label == leader:
            others, self._leader, self._best = self._contenders, leader, at_least(draws.ratio(leader))
        else:
            others = [label]
        left = [c for c in others if c != leader and self.active[c] and self._beaten(c)]
        if left:
            self.active[left] = False
            self._contenders = np.flatnonzero(self.active).tolist()

    def _beaten(self, label: int) -> bool:
        """Return whether the evidence against "this class is no more robust than the leader" is enough."""
        draws, leader = self.draws, self._leader
        mine, count = int(draws.count[label]), int(draws.count[leader])
        if draws.left[leader]:
            return bool(not_above(draws.ratio(label), mine, self._best, count) >= self._needed[leader])
        # The leader is known: the same minimum without a list of all counts, since races spend most verdicts here.
        robust = int(draws.survivors[leader] - draws.broken[leader])
        evidence = draws.least_ratio(label, 0, robust * mine // count) + self._best[robust]
        return bool(evidence >= self._needed[leader])
