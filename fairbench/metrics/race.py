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
from fairbench.metrics.race_evidence import PRIOR, Floats, at_least, bounds, least_log_ratio, log_ratio, not_above

Ints = npt.NDArray[np.int64]
#: Verdicts that every class gets before classes are compared, and that a rival gets at a time.
FIRST = 4
#: Verdicts of a round at most: larger blocks would be faster each, and draw more than an answer needs.
ROUND = 64


def draw_order(seed: int, label: int, samples: npt.ArrayLike) -> Ints:
    """Return a class's samples in the order in which a race draws them: a function of seed, class and their number."""
    return np.asarray(np.random.default_rng([seed, label]).permutation(np.asarray(samples, dtype=np.int64)))


class Draws:
    """What is known of every class: N samples, S survivors of the cheap attack, m drawn, b of them broken.

    Attributes:
        survivors: (K,) S.
        count: (K,) N; a class without samples takes no part.
        drawn: (K,) m.
        broken: (K,) b.
        left: (K,) survivors without a full verdict, S - m.
        expected: [K] accuracies in the full run, NaN where a class has no samples.
    """

    def __init__(self, survivors: npt.ArrayLike, count: npt.ArrayLike, *, prior: tuple[float, float] = PRIOR) -> None:
        self.survivors, self.count = np.array(survivors, dtype=np.int64), np.array(count, dtype=np.int64)
        if self.survivors.shape != self.count.shape or self.survivors.ndim != 1 or not (self.count > 0).any():
            raise BadInput(
                f"a race needs one count of survivors and of samples per class and at least one sample, but got "
                f"{self.survivors.shape} and {self.count.shape} with {int(self.count.sum())} samples."
            )
        if (self.survivors < 0).any() or (self.survivors > self.count).any():
            raise BadInput(
                "a class's survivors must be from 0 to its number of samples; count them on the same samples."
            )
        self.prior = prior
        self.drawn, self.broken = np.zeros_like(self.count), np.zeros_like(self.count)
        self.left = self.survivors.copy()
        self._ratio: list[Floats | None] = [None] * len(self.count)
        self.expected = [self._expected(label) for label in range(len(self.count))]

    @property
    def num_classes(self) -> int:
        """K."""
        return len(self.count)

    def observe(self, label: int, broken: npt.ArrayLike) -> None:
        """Take the full attack's verdicts on samples of class `label`: (n,), True where it was broken.

        Raises:
            BadInput: more verdicts than there are survivors left.
        """
        verdicts = np.asarray(broken, dtype=bool)
        if verdicts.ndim != 1 or len(verdicts) > self.left[label]:
            raise BadInput(
                f"class {label} has {int(self.left[label])} survivors without a verdict, but got {verdicts.shape}; "
                "draw without replacement."
            )
        self.drawn[label] += len(verdicts)
        self.left[label] -= len(verdicts)
        self.broken[label] += int(verdicts.sum())
        self._ratio[label] = None
        self.expected[label] = self._expected(label)

    def ratio(self, label: int) -> Floats:
        """Return the class's `log_ratio`, (S + 1,); computed only where it is asked for."""
        known = self._ratio[label]
        if known is None:
            known = self._ratio[label] = log_ratio(*self._counts(label), prior=self.prior)
        return known

    def least_ratio(self, label: int, low: int, high: int) -> float:
        """Return the least of the class's `log_ratio` over robust counts low..high."""
        return least_log_ratio(low, high, *self._counts(label), prior=self.prior)

    def _counts(self, label: int) -> tuple[int, int, int]:
        return int(self.survivors[label]), int(self.drawn[label]), int(self.broken[label])

    def estimate(self) -> Floats:
        """Return each class's expected accuracy in the full run, (K,); NaN where it has no samples."""
        return np.array(self.expected)

    def _expected(self, label: int) -> float:
        (survivors, drawn, broken), count = self._counts(label), int(self.count[label])
        alpha, beta = self.prior
        share = (alpha + broken) / (alpha + beta + drawn)
        return (survivors - broken - (survivors - drawn) * share) / count if count else float("nan")

    def bounds(self, label: int, *, error: float) -> tuple[float, float]:
        """Return limits of the class's accuracy in the full run, wrong at any time with probability at most `error`."""
        low, high = bounds(self.ratio(label), error=error)
        return low / int(self.count[label]), high / int(self.count[label])


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


def _want(wanted: dict[int, int], label: int, number: int, draws: Draws, size: int) -> None:
    """Add up to `number` samples of a class, as far as it has them and `size` allows."""
    number = min(number, int(draws.left[label]), size - sum(wanted.values()))
    if number > 0:
        wanted[label] = number


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
        self.error = _error(confidence)
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
                _want(wanted, int(label), FIRST - int(draws.drawn[label]), draws, size)
        if not wanted:
            # The leader is drawn to its end: its accuracy is part of the answer, and what is exact costs no evidence.
            _want(wanted, self._leader, size, draws, size)
            rivals = np.flatnonzero(self.active)
            for label in rivals[np.argsort(draws.estimate()[rivals], kind="stable")]:
                if label != self._leader:
                    _want(wanted, int(label), FIRST, draws, size)
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


class Threshold:
    """The question whether the worst class of the full run is below an accuracy.

    "Yes" is wrong with probability at most 1 - confidence where the truth is no, and "no" where it is yes. For yes the
    evidence of all classes is averaged; for no every class must show on its own that it is not below.

    Args:
        survivors: (K,) samples that the cheap attack left unbroken.
        count: (K,) samples.
        below: the accuracy, a fraction.
        confidence: of either answer.
        prior: of `race_evidence`.
    """

    def __init__(
        self,
        survivors: npt.ArrayLike,
        count: npt.ArrayLike,
        *,
        below: float,
        confidence: float = 0.95,
        prior: tuple[float, float] = PRIOR,
    ) -> None:
        if not 0 < below <= 1:
            raise BadInput(f"the accuracy that the worst class is compared with must be in (0, 1], but is {below!r}.")
        self.draws = Draws(survivors, count, prior=prior)
        self.error, self.below = _error(confidence), below
        present = self.draws.count > 0
        # The least robust count that is not below; a count of exactly below * N is not.
        self._enough = np.ceil(below * self.draws.count - 1e-9).astype(np.int64)
        self.undecided = present.copy()
        self._against, self._for = np.zeros(self.draws.num_classes), np.zeros(self.draws.num_classes)
        self._weight = np.where(present, 1.0 / present.sum(), 0.0)
        for label in np.flatnonzero(present):
            self._judge(int(label))

    def verdict(self) -> bool | None:
        """Return True where the worst class is below, False where it is not, None while neither is shown."""
        with np.errstate(over="ignore"):
            if float(np.sum(self._weight * np.exp(self._against))) >= 1 / self.error:
                return True
        return None if self.undecided.any() else False

    @property
    def certain(self) -> bool:
        """Whether the verdicts that are known leave no other answer, whatever the order of drawing was."""
        if self.verdict():
            return bool(np.isposinf(self._against).any())
        return self.verdict() is False and bool(np.isposinf(self._for[self.draws.count > 0]).all())

    def next_draws(self, size: int = ROUND) -> dict[int, int]:
        """Return {class: samples that need verdicts}, at most `size` together; empty when the answer stands."""
        wanted = dict[int, int]()
        if self.verdict() is None:
            open_ = np.flatnonzero(self.undecided)
            order = open_[np.argsort(self.draws.estimate()[open_], kind="stable")]
            # The lowest class may say yes alone; for no, all others have to be heard.
            _want(wanted, int(order[0]), max(FIRST, size // 2), self.draws, size)
            for label in order[1:]:
                _want(wanted, int(label), FIRST, self.draws, size)
        return wanted

    def observe(self, label: int, broken: npt.ArrayLike) -> None:
        """Take the full attack's verdicts on samples of class `label`: (n,), True where it was broken.

        Raises:
            BadInput: more verdicts than there are survivors left.
        """
        self.draws.observe(label, broken)
        self._judge(label)

    def _judge(self, label: int) -> None:
        survivors, enough = int(self.draws.survivors[label]), int(self._enough[label])
        # Against "not below": the best case among counts of at least `enough`; none is possible where S is smaller.
        self._against[label] = self.draws.least_ratio(label, enough, survivors)
        self._for[label] = self.draws.least_ratio(label, 0, min(enough - 1, survivors))
        if self._for[label] >= -np.log(self.error):
            self.undecided[label] = False


def _error(confidence: float) -> float:
    if not 0 < confidence < 1:
        raise BadInput(f"confidence must be between 0 and 1, such as 0.95, but is {confidence!r}.")
    return 1 - confidence
