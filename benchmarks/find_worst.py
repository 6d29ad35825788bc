"""Races for the worst class on tables whose answer is known: how often they are wrong, and what they spend.

    python benchmarks/find_worst.py [--races 10000] [--profile NAME]... [--confidence 0.95] [--batch 64] [--seed 0]
    python benchmarks/find_worst.py --real RUN_FOLDER... [--races 1000] [--confidence 0.95] [--batch 64] [--seed 0]

Simulated: a profile's verdicts are given or drawn anew for every race, and so is the order of samples. A survivor costs
7,750 forwards after APGD-CE's 102 with ten classes (919 + 1,828 + 5,003: APGD-T, FAB-T, Square); one that breaks is
charged in full, in the race and in the full run. --real: the verdicts of finished runs of `fairbench eval --attacks
aa`, in the orders of the seeds SEED, SEED + 1, ...; the race is charged, as the full run is, for the parts that a
sample entered. Batches are the command's; a run of smaller blocks is replayed in those.

Asked: which class is the worst, and is the worst class below an accuracy? Thresholds are the worst class's accuracy
plus 0.01, one image (barely yes), nothing (barely no; either, where verdicts are drawn anew), minus 0.01, and --below.
Printed: the share of wrong answers with its one-sided 95 % Clopper-Pearson lower limit beside 1 - confidence, and the
share of the forwards of the full AutoAttack (mean, 95th percentile). Exits 1 when answers are wrong significantly more
often than promised (one-sided binomial p < 0.001), or a CIFAR-10 profile costs over a third.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from race_profiles import PROFILES, Profile, Table
from race_replay import RealRun
from scipy import stats

from fairbench.errors import BadInput
from fairbench.metrics.race import Race
from fairbench.metrics.race_draws import ROUND
from fairbench.metrics.race_threshold import Threshold


def finish(race: Race | Threshold, table: Table, batch: int) -> None:
    """Give a race the verdicts that it asks for until its answer stands."""
    while wanted := race.next_draws(batch):
        for label, size in wanted.items():
            race.observe(label, table.deal(label, size))


def run_race(table: Table, *, confidence: float, batch: int) -> tuple[bool, float]:
    """Return whether the race named a class that is not the worst, and the share of forwards that it spent."""
    race = Race(table.survivors, table.count, confidence=confidence)
    finish(race, table, batch)
    answer = race.answer()
    if answer.robust != table.robust[answer.worst]:
        raise AssertionError(f"class {answer.worst} has {table.robust[answer.worst]} robust, not {answer.robust}")
    with np.errstate(invalid="ignore"):
        accuracy = table.robust / table.count
    return bool(accuracy[answer.worst] > np.nanmin(accuracy)), table.share()


def ask_threshold(table: Table, *, below: float, confidence: float, batch: int) -> tuple[bool, float]:
    """Return whether the answer to "is the worst class below?" is wrong, and the share of forwards that it spent."""
    asked = Threshold(table.survivors, table.count, below=below, confidence=confidence)
    finish(asked, table, batch)
    truth = bool((table.robust < below * table.count - 1e-9).any())
    return asked.verdict() is not truth, table.share()


def thresholds(source: Profile | RealRun, further: Sequence[float]) -> list[float]:
    """Return accuracies of which it is asked whether the worst class is below."""
    worst, images = source.worst()
    asked = (worst + 0.01, worst + 1 / images, worst, worst - 0.01, *further)
    return [below for below in dict.fromkeys(round(below, 12) for below in asked) if 0 < below < 1]


def measure(name: str, source: Profile | RealRun, below: float | None, given: argparse.Namespace) -> bool:
    """Run the races of one question, print their row, and return whether it fails."""
    question = "worst" if below is None else f"below {below:.4g}"
    random = np.random.default_rng([given.seed, *question.encode(), *name.encode()])
    batch = given.batch or source.batch
    results = []
    for number in range(given.races):
        table = source.table(random, given.seed + number)
        if below is None:
            results.append(run_race(table, confidence=given.confidence, batch=batch))
        else:
            results.append(ask_threshold(table, below=below, confidence=given.confidence, batch=batch))
    wrong, shares = sum(one for one, _ in results), np.array([share for _, share in results])
    least = float(stats.beta.ppf(0.05, wrong, given.races - wrong + 1)) if wrong else 0.0
    bad = stats.binomtest(wrong, given.races, 1 - given.confidence, alternative="greater").pvalue < 0.001
    expensive = below is None and source.cifar and shares.mean() > 1 / 3
    print(
        f"{name:<22}{question:<14}{wrong / given.races:>8.4f}{least:>10.4f}{1 - given.confidence:>9.2f}"
        f"{shares.mean():>8.3f}{np.quantile(shares, 0.95):>8.3f}"
        f"{'  TOO OFTEN' if bad else ''}{'  OVER A THIRD' if expensive else ''}",
        flush=True,
    )
    return bool(bad or expensive)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--real", nargs="+", type=Path, metavar="RUN_FOLDER", help="replay these runs' verdicts")
    parser.add_argument("--profile", action="append", choices=[*PROFILES])
    parser.add_argument("--races", type=int, help="default: 10000, with --real 1000")
    parser.add_argument("--confidence", type=float, default=0.95)
    parser.add_argument("--batch", type=int, help="verdicts of a round; default: the command's")
    parser.add_argument("--below", type=float, action="append", default=[], help="a further threshold, such as 0.25")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(arguments)
    if given.real and given.profile:
        parser.error("--real replays runs and --profile simulates; give one of them.")
    given.races = (1000 if given.real else 10_000) if given.races is None else given.races
    if given.races < 1 or (given.batch is not None and given.batch < 1) or not 0 < given.confidence < 1:
        parser.error("--races and --batch must be at least 1, and --confidence between 0 and 1.")
    try:
        runs = [RealRun(folder) for folder in given.real or ()]
    except BadInput as error:
        print(f"Error: {error}", file=sys.stderr)
        return 2
    batches = f"{given.batch}" if given.batch else f"{ROUND} or the run's block" if given.real else f"{ROUND}"
    print(f"{given.races} races per question, confidence {given.confidence}, batches of {batches}")
    for run in runs:
        print(run.describe())
    print(f"{'table':<22}{'question':<14}{'wrong':>8}{'at least':>10}{'allowed':>9}{'share':>8}{'p95':>8}")
    failed = False
    sources: list[tuple[str, Profile | RealRun]] = [(run.name, run) for run in runs]
    for name, source in sources or [(name, PROFILES[name]) for name in given.profile or PROFILES]:
        for below in (None, *thresholds(source, given.below)):
            failed |= measure(name, source, below, given)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
