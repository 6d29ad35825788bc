"""Real checkpoints on real images: natural accuracy to the last image, PGD and AutoAttack within their noise.

The reference figures were measured with other code: plain PGD and the package pyautoattack.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from torch import nn

from fairbench.data.dataset import Dataset
from fairbench.data.load import load_dataset
from fairbench.evaluation.evaluate import evaluate
from fairbench.models.load import load_checkpoint


@dataclass(frozen=True)
class Reference:
    """Accuracies of one checkpoint: natural on all 10,000, PGD-20 on the first 100 of each class, AutoAttack on 50.

    `flips` is how many of AutoAttack's 500 verdicts may differ.
    """

    eps: str
    natural: float
    pgd: float | None = None
    pgd_classes: tuple[float, ...] = ()
    autoattack: float | None = None
    autoattack_classes: tuple[float, ...] = ()
    flips: int = 1


MEASURED = {
    "mnist_pgd": Reference(
        "0.3", 0.9899,
        0.894, (0.97, 0.98, 0.93, 0.95, 0.82, 0.87, 0.89, 0.91, 0.76, 0.86),
        0.854, (0.96, 1.0, 0.86, 0.92, 0.82, 0.88, 0.86, 0.92, 0.70, 0.62),
        flips=3,  # Square decides here: the package's seeds 0 and 1, and 1 and 2, differ in 3 verdicts of these 500
    ),
    "mnist_fgsm": Reference(
        "0.3", 0.9850,
        0.878, (0.96, 0.98, 0.87, 0.90, 0.79, 0.87, 0.92, 0.90, 0.76, 0.83),
        0.790, (0.92, 1.0, 0.78, 0.70, 0.78, 0.82, 0.84, 0.88, 0.66, 0.52),
    ),
    "mnist_certified": Reference(
        "0.1", 0.9820,
        0.954, (0.98, 0.99, 0.94, 0.96, 0.94, 0.97, 0.93, 0.97, 0.94, 0.92),
        0.954, (1.0, 1.0, 0.94, 0.94, 0.96, 0.96, 0.94, 1.0, 0.94, 0.86),
    ),
    "mnist_wk17a": Reference("0.1", 0.9811),
    "mnist_trades": Reference("0.3", 0.9897, 0.951, (1.0, 0.99, 0.98, 0.96, 0.89, 0.93, 0.93, 0.98, 0.94, 0.91)),
    "mnist_natural": Reference("0.3", 0.9934),
    "cifar10_cnn": Reference(
        "2/255", 0.6563,
        0.519, (0.63, 0.56, 0.46, 0.20, 0.50, 0.39, 0.47, 0.61, 0.78, 0.59),
        0.458, (0.52, 0.54, 0.38, 0.12, 0.42, 0.34, 0.44, 0.50, 0.68, 0.64),
    ),
    "cifar10_resnet2b": Reference(
        "2/255", 0.6925,
        0.567, (0.58, 0.77, 0.39, 0.19, 0.35, 0.48, 0.76, 0.68, 0.76, 0.71),
        0.530, (0.56, 0.76, 0.34, 0.08, 0.32, 0.44, 0.78, 0.58, 0.70, 0.74),
    ),
    "cifar10_certified_8px": Reference("8/255", 0.2761),
}  # fmt: skip


def opened(name: str, folder: Path) -> tuple[nn.Module, Dataset]:
    dataset = load_dataset("mnist" if name.startswith("mnist") else f"npz:{folder / 'cifar10'}", data_dir=folder)
    factory = f"{folder / 'models' / 'architectures.py'}:{name}"
    loaded = load_checkpoint(folder / "models" / f"{name}.pt", model=factory, dataset=dataset)
    return loaded.model, dataset


def test_the_references_agree_with_themselves():
    """The average of the classes, each of as many images, is the average: a slip of the pen would show."""
    for name, known in MEASURED.items():
        for average, classes in ((known.pgd, known.pgd_classes), (known.autoattack, known.autoattack_classes)):
            assert (average is None) == (classes == ())
            assert average is None or float(np.mean(classes)) == pytest.approx(average, abs=1e-9), name


@pytest.mark.slow
@pytest.mark.parametrize("name", MEASURED)
def test_natural_accuracy_to_the_last_image(name, real_data):
    known = MEASURED[name]
    model, dataset = opened(name, real_data)
    run = evaluate(model, dataset, "fgsm", eps=known.eps)
    assert round(float(run.outcomes.robust("natural").mean()), 4) == known.natural


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name, known in MEASURED.items() if known.pgd is not None])
def test_pgd20_within_the_noise_of_its_start(name, real_data):
    """The reference has the same attack and another random start. Over starts a sample's verdict is its own coin: two
    runs differ by a count whose variance is the expected number of verdicts that flip between them. That number is
    measured here, over three seeds; three standard deviations are allowed, and a quarter of an image more for
    rounding where no verdict flips. For the average and for each class."""
    known = MEASURED[name]
    model, dataset = opened(name, real_data)
    runs = [evaluate(model, dataset.first_per_class(100), "pgd20", eps=known.eps, seed=seed) for seed in range(3)]
    verdicts = np.array([run.outcomes.robust("pgd20") for run in runs])
    y = runs[0].outcomes.labels("pgd20")
    flips = np.mean([verdicts[a] != verdicts[b] for a, b in ((0, 1), (0, 2), (1, 2))], axis=0)
    everyone = np.ones(len(y), dtype=bool)
    groups = [(known.pgd, everyone), *((value, y == c) for c, value in enumerate(known.pgd_classes))]
    for expected, rows in groups:
        allowed = 3 * math.sqrt(flips[rows].sum() + 0.25)
        found = verdicts[:, rows].sum(1).mean()
        assert abs(found - expected * rows.sum()) <= allowed, (found, expected, allowed)
    assert flips.mean() < 0.03, "so noisy that the comparison says nothing"


@pytest.mark.slow
def test_a_class_with_no_robust_image_and_one_with_nearly_none(real_data):
    """Reference of 40 steps on all images: average .225, deer 0, bird .011; of its step and start nothing is known.
    Here .2264, 0 and .012 were measured with eps / 4 and a uniform start: two images of a thousand are allowed."""
    model, dataset = opened("cifar10_certified_8px", real_data)
    run = evaluate(model, dataset, "pgd40", eps="8/255")
    robust, y = run.outcomes.robust("pgd40"), run.outcomes.labels("pgd40")
    assert abs(float(robust.mean()) - 0.225) <= 0.002
    names = list(dataset.class_names)
    assert not robust[y == names.index("deer")].any()
    assert abs(float(robust[y == names.index("bird")].mean()) - 0.011) <= 0.002


@pytest.mark.slow
def test_no_attack_breaks_more_than_mixed_integer_programming_allows(real_data):
    """mnist_wk17a: at most 438 of the 10,000 can be broken within 0.1, proved (arXiv 1711.07356); 189 are wrong without
    an attack. PGD-20 on all of them broke 409 when this was written. AutoAttack: benchmarks/oracles.py."""
    model, dataset = opened("mnist_wk17a", real_data)
    run = evaluate(model, dataset, "pgd20", eps="0.1")
    broken = int((~run.outcomes.robust("pgd20")).sum())
    assert broken <= 438
    assert broken >= 400, "an attack this weak would leave the bound unbroken whatever it did"


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name, known in MEASURED.items() if known.autoattack is not None])
def test_autoattack_in_one_batch_is_the_package_s_own_number(name, real_data):
    """The same seed and batch as the package's driver. Threads and memory layout round differently, and one verdict
    that flips changes the noise of the samples after it: one of 500 may differ, or as many as between two seeds."""
    known = MEASURED[name]
    model, dataset = opened(name, real_data)
    run = evaluate(
        model, dataset.first_per_class(50), "aa", eps=known.eps, batch_size=500, engine="reference"
    )  # fmt: skip
    robust, y = run.outcomes.robust("aa"), run.outcomes.labels("aa")
    assert abs(float(robust.mean()) - known.autoattack) <= known.flips / 500 + 1e-4
    found = np.array([robust[y == c].mean() for c in range(10)])
    assert np.abs(found - known.autoattack_classes).sum() <= known.flips / 50 + 1e-3, found
