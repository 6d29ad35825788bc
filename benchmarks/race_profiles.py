"""Simulated tables for races: profiles of class accuracies, and the verdicts drawn from them.

A table says of every class how many samples it has and how many survive the cascade's first part, and deals the full
attack's verdicts on those in a random order. Costs are forwards of AutoAttack's published budget.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from fairbench.metrics.race_draws import ROUND

#: Forwards of APGD-CE, and of APGD-T, FAB-T and Square together (919 + 1,828 + 5,003), with ten classes.
CHEAP, REST = 102, 7750


Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


class Table(Protocol):
    """The truth of one race, and the verdicts in the order in which this race draws them."""

    survivors: Ints  # (K,) after the cascade's first part
    robust: Ints  # (K,) in the full run
    count: Ints  # (K,)

    def deal(self, label: int, size: int) -> Bools:
        """Return the next `size` verdicts of a class, True where the full attack broke the sample."""
        ...

    def share(self) -> float:
        """Return what was dealt, with the first part on all samples, as a share of the full run's forwards."""
        ...


@dataclass(frozen=True)
class Profile:
    """Accuracy of each class after the cheap attack and in the full run, with the number of samples of each class.

    `redraw` draws the counts anew for each race (binomial around the accuracies): near ties in all their forms.
    """

    cheap: tuple[float, ...]
    full: tuple[float, ...]
    count: int = 1000
    cifar: bool = False
    redraw: bool = True

    batch = ROUND

    def worst(self) -> tuple[float, int]:
        """Return the worst class's accuracy, about which thresholds are asked, and the number of its samples."""
        return min(self.full), self.count

    def table(self, random: np.random.Generator, race: int) -> Table:
        """Return a table for one race."""
        return DrawnTable(self, random)


class DrawnTable:
    """Counts and orders from a generator. A survivor costs REST, also one that breaks early."""

    def __init__(self, profile: Profile, random: np.random.Generator) -> None:
        self._random = random
        self.count = np.full(len(profile.full), profile.count)
        cheap, full = np.array(profile.cheap), np.array(profile.full)
        if profile.redraw:
            self.survivors = random.binomial(self.count, cheap)
            broken = random.binomial(self.survivors, 1 - full / cheap)
        else:
            self.survivors = np.rint(cheap * self.count).astype(np.int64)
            broken = self.survivors - np.rint(full * self.count).astype(np.int64)
        self.robust = self.survivors - broken
        self._left, self._broken = self.survivors.copy(), broken.copy()

    def deal(self, label: int, size: int) -> Bools:
        # The next `size` of a random order: hypergeometric; a race looks at their number only.
        broken = int(self._random.hypergeometric(self._broken[label], self._left[label] - self._broken[label], size))
        self._left[label] -= size
        self._broken[label] -= broken
        return np.arange(size) < broken

    def share(self) -> float:
        cheap = CHEAP * self.count.sum()
        drawn = self.survivors.sum() - self._left.sum()
        return float((cheap + REST * drawn) / (cheap + REST * self.survivors.sum()))


def _rest(full: tuple[float, ...], share: float) -> tuple[float, ...]:
    """Return accuracies after the cheap attack where the rest of the cascade breaks `share` of what that leaves."""
    return tuple(value / (1 - share) for value in full)


# Measured per class on two real networks and their whole test splits: APGD-CE + APGD-T at 2/255, which stands for the
# full run here, and AutoAttack at 0.3. What the first part alone leaves is assumed: the same share more in every class.
_RESNET2B = (0.658, 0.758, 0.341, 0.187, 0.332, 0.474, 0.725, 0.639, 0.731, 0.643)
_MNIST_FGSM = (0.920, 0.951, 0.835, 0.797, 0.826, 0.794, 0.875, 0.847, 0.689, 0.739)
_CLOSE = (0.62, 0.71, 0.36, 0.225, 0.24, 0.41, 0.60, 0.62, 0.68, 0.66)
_THREE = (0.62, 0.71, 0.25, 0.24, 0.245, 0.41, 0.60, 0.62, 0.68, 0.66)

PROFILES: dict[str, Profile] = {
    "cifar10-resnet2b": Profile(_rest(_RESNET2B, 0.03), _RESNET2B, cifar=True, redraw=False),
    "cifar10-close": Profile(_rest(_CLOSE, 0.06), _CLOSE, cifar=True),
    "cifar10-three-close": Profile(_rest(_THREE, 0.06), _THREE, cifar=True),
    "cifar10-fgsm-tier": Profile(tuple(min(v + 0.15, 1.0) for v in _CLOSE), _CLOSE, cifar=True),
    "mnist-fgsm": Profile(_rest(_MNIST_FGSM, 0.045), _MNIST_FGSM, redraw=False),
    "masked-class": Profile((0.5,) * 9 + (0.9,), (0.47,) * 9 + (0.40,)),
    "all-equal": Profile((0.5,) * 10, (0.47,) * 10),
    "one-image-apart": Profile((0.5,) * 10, (0.469,) + (0.47,) * 9, redraw=False),
    "two-tied": Profile((0.30, 0.30) + (0.6,) * 8, (0.28, 0.28) + (0.57,) * 8, redraw=False),
    "near-one": Profile((0.99,) * 9 + (0.98,), (0.985,) * 9 + (0.97,)),
    "near-zero": Profile((0.05, 0.03) + (0.3,) * 8, (0.02, 0.0) + (0.28,) * 8),
    "hundred": Profile(
        _rest(tuple(np.linspace(0.05, 0.65, 100)), 0.05), tuple(np.linspace(0.05, 0.65, 100)), count=100
    ),
    "small": Profile(_rest(_CLOSE, 0.06), _CLOSE, count=50),
}
