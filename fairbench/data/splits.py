"""Validation splits: always carved from training data, stratified and seeded, the same on every machine.

Every class gives the same number of images, since what is selected on them is a per-class quantity: the registry's
number, but never more than a fifth of the class. A data set of a person's own gives a tenth of its mean class size, at
most 500 per class.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from fairbench.errors import BadInput
from fairbench.sample_random import SampleRandom

_LARGEST_SHARE = 5  # a fifth
_OWN_SHARE = 10  # a tenth
_OWN_LIMIT = 500


def own_per_class(y: npt.NDArray[np.int64], num_classes: int) -> int:
    """Return how many validation images per class a data set outside the registry gives."""
    return int(np.clip(len(y) // (_OWN_SHARE * num_classes), 1, _OWN_LIMIT))


def validation_rows(y: npt.NDArray[np.int64], num_classes: int, per_class: int, seed: int) -> npt.NDArray[np.bool_]:
    """Return (N,) which training samples are held out: `per_class` of each class, at most a fifth of it.

    A class with 2 to 5 samples gives one, a class with one sample none. A sample's rank within its class is a function
    of (seed, its place), so the split does not depend on NumPy's or torch's generators.

    Raises:
        BadInput: no class has two samples, so that nothing can be held out.
    """
    counts = np.bincount(y, minlength=num_classes)
    shares = np.where(counts >= 2, np.clip(counts // _LARGEST_SHARE, 1, per_class), 0)
    if shares.sum() == 0:
        raise BadInput(
            f"a validation split needs a class with at least 2 training images, but there are {len(y)} images in "
            f"{num_classes} classes."
        )
    keys = SampleRandom(seed, "validation", torch.arange(len(y))).uniform(()).numpy()
    held = np.zeros(len(y), dtype=bool)
    for c in np.flatnonzero(shares):
        rows = np.flatnonzero(y == c)
        held[rows[np.argsort(keys[rows], kind="stable")[: shares[c]]]] = True
    return held
