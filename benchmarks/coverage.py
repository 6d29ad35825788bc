"""Simulated coverage of every interval that fairbench prints, with mean widths beside those of the exact box.

    python benchmarks/coverage.py [--tables 2000] [CELL ...]

A cell is a truth: one accuracy per class and the images of each. Tables are drawn from it with a fixed seed, every
interval is computed for each, and two lines are printed: the share that holds the true value in %, and mean widths in
points, the interval's / that of the range over the simultaneous exact box. "all at once" are the box's own limits,
which hold where every class lies within its own. A paired cell has a truth before and after, with correlated verdicts;
its box holds for the 2 K accuracies together. "below" marks coverage significantly below 94 % (one-sided binomial
p < 0.001) and "wide" a mean width above the box's; neither should ever appear.
"""

from __future__ import annotations

import argparse
import time
import zlib
from dataclasses import dataclass

import numpy as np
from scipy import stats

from fairbench.metrics import classwise
from fairbench.metrics.binomial import clopper_pearson, sidak, simultaneous_box, wilson
from fairbench.metrics.box import gap_range, normalized_std_range, std_range, worst_share_range
from fairbench.metrics.difference import normalized_std_difference, std_difference, worst_class_difference
from fairbench.metrics.intervals import metric_intervals
from fairbench.metrics.paired import PairedCounts, average_difference

FLOOR, REJECT = 0.94, 0.001
# AutoAttack (two parts) on a real CIFAR-10 network, 1,000 images per class.
PROFILE = (0.658, 0.758, 0.341, 0.187, 0.332, 0.474, 0.725, 0.639, 0.731, 0.643)
TWO_TIED = (0.3, 0.3, *np.linspace(0.4, 0.8, 8))


@dataclass(frozen=True)
class Cell:
    """True class accuracies and the number of images of each class."""

    accuracy: tuple[float, ...]
    count: int | tuple[int, ...]


@dataclass(frozen=True)
class PairedCell:
    """True class accuracies before and after, images per class, and the correlation of the two verdicts."""

    before: tuple[float, ...]
    after: tuple[float, ...]
    count: int
    correlation: float


@dataclass(frozen=True)
class Coverage:
    """How often an interval held the truth, its mean width, and that of the range over the box; fractions."""

    covered: int
    tables: int
    width: float
    box: float

    @property
    def share(self) -> float:
        return self.covered / self.tables

    @property
    def below(self) -> bool:
        return bool(stats.binom.cdf(self.covered, self.tables, FLOOR) < REJECT)

    @property
    def wide(self) -> bool:
        """Wider than the box on average, by more than the rounding of sums in another order."""
        return self.width > self.box * (1 + 1e-12)


CELLS = {
    "10 tied at .5, n=20": Cell((0.5,) * 10, 20),
    "10 tied at .5, n=50": Cell((0.5,) * 10, 50),
    "10 tied at .5, n=100": Cell((0.5,) * 10, 100),
    "10 tied at .25, n=1000": Cell((0.25,) * 10, 1000),
    "two tied worst, n=100": Cell(TWO_TIED, 100),
    "real profile, n=20": Cell(PROFILE, 20),
    "real profile, n=50": Cell(PROFILE, 50),
    "real profile, n=100": Cell(PROFILE, 100),
    "real profile, n=1000": Cell(PROFILE, 1000),
    "real profile, unequal counts": Cell(PROFILE, (160, 200, 150, 180, 300, 250, 190, 160, 400, 350)),
    "10 tied at .5, unequal counts": Cell((0.5,) * 10, (16, 20, 150, 18, 30, 25, 190, 160, 40, 35)),
    "small spread, n=100": Cell(tuple(np.linspace(0.45, 0.55, 10)), 100),
    "small spread, n=1000": Cell(tuple(np.linspace(0.48, 0.52, 10)), 1000),
    "10 at .99, n=50": Cell((0.99,) * 10, 50),
    "10 at .99, n=100": Cell((0.99,) * 10, 100),
    "10 at .999, n=100": Cell((0.999,) * 10, 100),
    "10 at .01, n=100": Cell((0.01,) * 10, 100),
    "one at 0, nine at .5, n=100": Cell((0.0, *(0.5,) * 9), 100),
    "one at .5, nine at .98, n=100": Cell((0.5, *(0.98,) * 9), 100),
    "one at .5, nine at .98, n=1000": Cell((0.5, *(0.98,) * 9), 1000),
    "one at .95, nine at .99, n=1000": Cell((0.95, *(0.99,) * 9), 1000),
    "one at .9, nine at .1, n=200": Cell((0.9, *(0.1,) * 9), 200),
    "low average, n=200": Cell((*(0.06,) * 8, 0.2, 0.4), 200),
    "2 tied at .5, n=50": Cell((0.5, 0.5), 50),
    "2 at .5 and .7, n=100": Cell((0.5, 0.7), 100),
    "3 classes, n=50": Cell((0.3, 0.5, 0.55), 50),
    "100 tied at .5, n=50": Cell((0.5,) * 100, 50),
    "100 tied at .95, n=50": Cell((0.95,) * 100, 50),
    "100 from .2 to .8, n=100": Cell(tuple(np.linspace(0.2, 0.8, 100)), 100),
    "100 from .45 to .55, n=100": Cell(tuple(np.linspace(0.45, 0.55, 100)), 100),
    "one at .05, 99 at .6, n=100": Cell((0.05, *(0.6,) * 99), 100),
}

PAIRED_CELLS = {
    "tied at .5, then too": PairedCell((0.5,) * 10, (0.5,) * 10, 100, 0.5),
    "tied at .5, then too, independent": PairedCell((0.5,) * 10, (0.5,) * 10, 100, 0.0),
    "tied at .3, then at .32, n=1000": PairedCell((0.3,) * 10, (0.32,) * 10, 1000, 0.5),
    "tied at .5, then the profile": PairedCell((0.5,) * 10, PROFILE, 100, 0.5),
    "the profile, then tied at .5": PairedCell(PROFILE, (0.5,) * 10, 100, 0.5),
    "the profile twice, n=100": PairedCell(PROFILE, PROFILE, 100, 0.6),
    "the profile halved to its middle, n=1000": PairedCell(
        PROFILE, tuple(0.5 * np.array(PROFILE) + 0.27), 1000, 0.6
    ),
    "two tied worst, then one tie": PairedCell(TWO_TIED, (0.4,) * 10, 100, 0.3),
    "the worst class moves": PairedCell((0.2, 0.4, *(0.6,) * 8), (0.4, 0.3, *(0.6,) * 8), 100, 0.5),
    "10 at .99, n=50": PairedCell((0.99,) * 10, (0.98,) * 10, 50, 0.3),
    "one apart, n=1000": PairedCell((0.5, *(0.98,) * 9), (0.6, *(0.97,) * 9), 1000, 0.5),
    "the order turns round": PairedCell(
        tuple(np.linspace(0.45, 0.55, 10)), tuple(np.linspace(0.55, 0.45, 10)), 100, 0.5
    ),
    "3 classes": PairedCell((0.3, 0.5, 0.5), (0.5, 0.5, 0.5), 100, 0.5),
    "100 tied at .5, n=50": PairedCell((0.5,) * 100, (0.5,) * 100, 50, 0.5),
    "100 classes, n=100": PairedCell(
        tuple(np.linspace(0.2, 0.8, 100)), tuple(np.linspace(0.3, 0.8, 100)), 100, 0.5
    ),
}  # fmt: skip

METRICS = (
    "average", "class_average", "worst_class", "worst_10pct", "worst_20pct", "gap", "std", "normalized_std",
)  # fmt: skip
TOGETHER = "all at once"
CHANGES = {
    "average": average_difference,
    "worst_class": worst_class_difference,
    "std": std_difference,
    "normalized_std": normalized_std_difference,
}


def truth_of(accuracy: tuple[float, ...], count: np.ndarray) -> dict[str, float]:
    """The true value of each metric."""
    return {
        "average": classwise.average(accuracy, count),
        "class_average": classwise.class_average(accuracy),
        "worst_class": classwise.worst_class_accuracy(accuracy),
        "worst_10pct": classwise.worst_share(accuracy, 0.1),
        "worst_20pct": classwise.worst_share(accuracy, 0.2),
        "gap": classwise.class_gap(accuracy),
        "std": classwise.std(accuracy),
        "normalized_std": classwise.normalized_std(accuracy),
    }


def simulate(name: str, tables: int) -> dict[str, Coverage]:
    """Draw tables from one cell and return the coverage of each metric's interval."""
    cell = CELLS[name]
    num = len(cell.accuracy)
    count = np.broadcast_to(np.array(cell.count), (num,))
    hits = _generator(name).binomial(count, cell.accuracy, size=(tables, num))
    box = simultaneous_box(hits, count)
    boxes = ranges_over(box, count)
    truth, found = truth_of(cell.accuracy, count), metric_intervals(hits, count)
    result = {metric: _coverage(found[metric], truth[metric], boxes[metric]) for metric in METRICS}
    all_hold = ((box[..., 0] <= np.array(cell.accuracy)) & (np.array(cell.accuracy) <= box[..., 1])).all(axis=-1)
    width = float((box[..., 1] - box[..., 0]).mean())
    return {**result, TOGETHER: Coverage(int(all_hold.sum()), tables, width, width)}


def ranges_over(box: np.ndarray, count: np.ndarray) -> dict[str, np.ndarray]:
    """The (..., 2) range of each metric over (..., K, 2) boxes."""
    return {
        "average": (box * count[:, None]).sum(axis=-2) / count.sum(),
        "class_average": box.mean(axis=-2),
        "worst_class": worst_share_range(box, 1e-6),
        "worst_10pct": worst_share_range(box, 0.1),
        "worst_20pct": worst_share_range(box, 0.2),
        "gap": gap_range(box),
        "std": std_range(box),
        "normalized_std": normalized_std_range(box),
    }


def simulate_pairs(name: str, tables: int) -> dict[str, Coverage]:
    """Draw paired tables from one cell and return the coverage of each difference's interval."""
    cell = PAIRED_CELLS[name]
    p, q = np.array(cell.before), np.array(cell.after)
    both = p * q + cell.correlation * np.sqrt(p * (1 - p) * q * (1 - q))
    both = np.clip(both, np.maximum(0, p + q - 1), np.minimum(p, q))
    chances = np.stack([both, p - both, q - both, np.maximum(1 - p - q + both, 0)], axis=-1)
    count = np.full(p.size, cell.count)
    draws = _generator(name).multinomial(cell.count, chances / chances.sum(axis=-1, keepdims=True), (tables, p.size))
    truth = {
        "average": q.mean() - p.mean(),
        "worst_class": q.min() - p.min(),
        "std": q.std() - p.std(),
        "normalized_std": q.std() / q.mean() - p.std() / p.mean(),
    }
    hits = np.stack([draws[..., 0] + draws[..., 1], draws[..., 0] + draws[..., 2]], axis=1)
    before, after = np.moveaxis(clopper_pearson(hits, count, confidence=sidak(0.95, 2 * p.size)), 1, 0)
    first, second = ranges_over(before, count), ranges_over(after, count)
    result = {}
    for metric, difference in CHANGES.items():
        found = [difference(PairedCounts(count, *draw.T[:3])) for draw in draws]
        limits = np.array([(one.low, one.high) for one in found])
        apart = second[metric] - first[metric][:, ::-1]
        result[metric] = _coverage(limits, float(truth[metric]), apart)
    return result


def wilson_average(count: int, points: int = 4001) -> float:
    """The exact coverage of one Wilson interval, averaged over p on an even grid."""
    hits = np.arange(count + 1)
    limits = wilson(hits, count)
    p = (np.arange(points) + 0.5) / points
    chance = stats.binom.pmf(hits, count, p[:, None])
    return float((chance * ((limits[:, 0] <= p[:, None]) & (p[:, None] <= limits[:, 1]))).sum(axis=1).mean())


def _generator(name: str) -> np.random.Generator:
    return np.random.default_rng(zlib.crc32(name.encode()))


def _coverage(limits: np.ndarray, truth: float, box: np.ndarray) -> Coverage:
    held = (limits[:, 0] <= truth + 1e-12) & (truth - 1e-12 <= limits[:, 1])
    widths = [float((pairs[:, 1] - pairs[:, 0]).mean()) for pairs in (limits, box)]
    return Coverage(int(held.sum()), len(limits), *widths)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tables", type=int, default=2000)
    parser.add_argument("cell", nargs="*", help="names of cells; all where none is given")
    chosen = parser.parse_args()
    start = time.perf_counter()
    for count in (20, 50, 100, 1000):
        print(f"Wilson, n={count}: {100 * wilson_average(count):.2f} % averaged over p (exact)")
    for title, cells, simulation, metrics in (
        ("Intervals", CELLS, simulate, (*METRICS, TOGETHER)),
        ("Differences of two runs on the same images", PAIRED_CELLS, simulate_pairs, tuple(CHANGES)),
    ):
        print(f"\n{title}: {chosen.tables} tables per cell; covered in %, mean width / the box's in points")
        print(f"{'':42}" + "".join(f"{metric:>16}" for metric in metrics))
        for name in chosen.cell or cells:
            if name not in cells:
                continue
            found = simulation(name, chosen.tables).values()
            covered = [f"{100 * one.share:.1f}" + (" below" if one.below else "") for one in found]
            widths = [f"{100 * one.width:.1f} / {100 * one.box:.1f}" + (" wide" if one.wide else "") for one in found]
            print(f"{name:42}" + "".join(f"{text:>16}" for text in covered))
            print(f"{'':42}" + "".join(f"{text:>16}" for text in widths), flush=True)
    print(f"\n{time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
