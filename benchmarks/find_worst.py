"""Races for the worst class on tables whose answer is known: how often they are wrong, and what they spend.

    python benchmarks/find_worst.py [--races 10000] [--profile NAME]... [--confidence 0.95] [--batch 16]

For every race the full run's verdicts are given and the order of samples is drawn anew. Printed: the share of wrong
answers with its one-sided 95 % Clopper-Pearson lower limit beside 1 - confidence, and the share of the forwards of
the full AutoAttack (mean, 95th percentile). A survivor costs 7,750 forwards after APGD-CE's 102 with ten classes
(919 + 1,828 + 5,003: APGD-T, FAB-T, Square); one that breaks is charged in full, in both. Exits 1 when a profile is
wrong significantly more often than promised (one-sided binomial p < 0.001), or a CIFAR-10 profile costs over a third.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass

import numpy as np
from scipy import stats

from fairbench.metrics.race import Race, Threshold

CHEAP, REST = 102, 7750


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


def _rest(full: tuple[float, ...], share: float) -> tuple[float, ...]:
    """Return accuracies after the cheap attack where the rest of the cascade breaks `share` of what that leaves."""
    return tuple(value / (1 - share) for value in full)


# measured: two real networks with the full table, ../data's README (APGD-CE + APGD-T, and AutoAttack, whole test split)
_RESNET2B = (0.658, 0.758, 0.341, 0.187, 0.332, 0.474, 0.725, 0.639, 0.731, 0.643)
_MNIST_FGSM = (0.920, 0.951, 0.835, 0.797, 0.826, 0.794, 0.875, 0.847, 0.689, 0.739)
_CLOSE = (0.62, 0.71, 0.36, 0.225, 0.24, 0.41, 0.60, 0.62, 0.68, 0.66)

PROFILES: dict[str, Profile] = {
    "cifar10-resnet2b": Profile(_rest(_RESNET2B, 0.03), _RESNET2B, cifar=True, redraw=False),
    "cifar10-close": Profile(_rest(_CLOSE, 0.06), _CLOSE, cifar=True),
    "cifar10-three-close": Profile(
        _rest((0.62, 0.71, 0.25, 0.24, 0.245, 0.41, 0.60, 0.62, 0.68, 0.66), 0.06),
        (0.62, 0.71, 0.25, 0.24, 0.245, 0.41, 0.60, 0.62, 0.68, 0.66),
        cifar=True,
    ),
    "cifar10-fgsm-tier": Profile(tuple(min(v + 0.15, 1.0) for v in _CLOSE), _CLOSE, cifar=True),
    "mnist-fgsm": Profile(_rest(_MNIST_FGSM, 0.045), _MNIST_FGSM, redraw=False),
    "masked-class": Profile((0.5,) * 9 + (0.9,), (0.47,) * 9 + (0.40,)),
    "all-equal": Profile((0.5,) * 10, (0.47,) * 10),
    "two-tied": Profile((0.30, 0.30) + (0.6,) * 8, (0.28, 0.28) + (0.57,) * 8, redraw=False),
    "near-one": Profile((0.99,) * 9 + (0.98,), (0.985,) * 9 + (0.97,)),
    "near-zero": Profile((0.05, 0.03) + (0.3,) * 8, (0.02, 0.0) + (0.28,) * 8),
    "hundred": Profile(
        _rest(tuple(np.linspace(0.05, 0.65, 100)), 0.05), tuple(np.linspace(0.05, 0.65, 100)), count=100
    ),
    "small": Profile(_rest(_CLOSE, 0.06), _CLOSE, count=50),
}


def tables(profile: Profile, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return survivors of the cheap attack, how many of them the rest breaks, and samples, (K,) each."""
    count = np.full(len(profile.full), profile.count)
    cheap, full = np.array(profile.cheap), np.array(profile.full)
    if profile.redraw:
        survivors = random.binomial(count, cheap)
        return survivors, random.binomial(survivors, 1 - full / cheap), count
    survivors = np.rint(cheap * count).astype(int)
    return survivors, survivors - np.rint(full * count).astype(int), count


def draw_until_it_stands(race: Race | Threshold, broken: np.ndarray, random: np.random.Generator, batch: int) -> None:
    """Give a race the verdicts it asks for; `broken` (K,) of each class's survivors are broken by the full attack."""
    left = broken.copy()
    while wanted := race.next_draws(batch):
        for label, size in wanted.items():
            # The next `size` of a random order: hypergeometric.
            found = int(random.hypergeometric(left[label], race.draws.left[label] - left[label], size))
            left[label] -= found
            race.observe(label, np.arange(size) < found)


def run_race(profile: Profile, random: np.random.Generator, *, confidence: float, batch: int) -> tuple[bool, float]:
    """Return whether the race named a class that is not the worst, and the share of forwards that it spent."""
    survivors, broken, count = tables(profile, random)
    race = Race(survivors, count, confidence=confidence)
    draw_until_it_stands(race, broken, random, batch)
    answer = race.answer()
    accuracy = (survivors - broken) / count
    wrong = bool(accuracy[answer.worst] > accuracy.min())
    cheap = CHEAP * count.sum()
    return wrong, float((cheap + REST * race.draws.drawn.sum()) / (cheap + REST * survivors.sum()))


def ask_threshold(
    profile: Profile, random: np.random.Generator, *, below: float, confidence: float, batch: int
) -> tuple[bool, float]:
    """Return whether the answer to "is the worst class below?" is wrong, and the share of forwards that it spent."""
    survivors, broken, count = tables(profile, random)
    asked = Threshold(survivors, count, below=below, confidence=confidence)
    draw_until_it_stands(asked, broken, random, batch)
    truth = bool(((survivors - broken) < below * count - 1e-9).any())
    cheap = CHEAP * count.sum()
    share = (cheap + REST * asked.draws.drawn.sum()) / (cheap + REST * survivors.sum())
    return asked.verdict() is not truth, float(share)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--races", type=int, default=10_000)
    parser.add_argument("--profile", action="append", choices=[*PROFILES])
    parser.add_argument("--confidence", type=float, default=0.95)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    allowed, failed = 1 - given.confidence, False
    print(f"{given.races} races per profile, confidence {given.confidence}, batches of {given.batch}")
    print(f"{'profile':<22}{'question':<14}{'wrong':>8}{'at least':>10}{'allowed':>9}{'share':>8}{'p95':>8}")
    for name in given.profile or PROFILES:
        profile = PROFILES[name]
        worst = min(profile.full)
        questions: list[tuple[str, float | None]] = [("worst", None)]
        questions += [(f"below {below:.3g}", below) for below in (worst + 0.01, worst - 0.01) if 0 < below < 1]
        for question, below in questions:
            random = np.random.default_rng([given.seed, *question.encode(), *name.encode()])
            results = [
                run_race(profile, random, confidence=given.confidence, batch=given.batch)
                if below is None
                else ask_threshold(profile, random, below=below, confidence=given.confidence, batch=given.batch)
                for _ in range(given.races)
            ]
            wrong, shares = sum(one for one, _ in results), np.array([share for _, share in results])
            least = float(stats.beta.ppf(0.05, wrong, given.races - wrong + 1)) if wrong else 0.0
            bad = stats.binomtest(wrong, given.races, allowed, alternative="greater").pvalue < 0.001
            expensive = below is None and profile.cifar and shares.mean() > 1 / 3
            failed |= bool(bad or expensive)
            note = "  TOO OFTEN" if bad else "  OVER A THIRD" if expensive else ""
            print(
                f"{name:<22}{question:<14}{wrong / given.races:>8.4f}{least:>10.4f}{allowed:>9.2f}"
                f"{shares.mean():>8.3f}{np.quantile(shares, 0.95):>8.3f}{note}",
                flush=True,
            )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
