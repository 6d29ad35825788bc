"""What a race knows of every class, and in which order and how many samples it draws.

Shape key: K classes.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from fairbench.errors import BadInput
from fairbench.metrics.race_evidence import PRIOR, Floats, bounds, least_log_ratio, log_ratio

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


def want(wanted: dict[int, int], label: int, number: int, draws: Draws, size: int) -> None:
    """Add up to `number` samples of a class, as far as it has them and `size` allows."""
    number = min(number, int(draws.left[label]), size - sum(wanted.values()))
    if number > 0:
        wanted[label] = number


def error_of(confidence: float) -> float:
    """Return 1 - confidence.

    Raises:
        BadInput: it is no probability strictly between 0 and 1.
    """
    if not 0 < confidence < 1:
        raise BadInput(f"confidence must be between 0 and 1, such as 0.95, but is {confidence!r}.")
    return 1 - confidence
