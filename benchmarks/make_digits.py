"""Build fairbench/data/digits.npz from scikit-learn's copy of the UCI handwritten digits.

    python benchmarks/make_digits.py

1,797 real 8x8 scans; values 0..16 become uint8 round(v * 255 / 16). Stratified with seed 0: 90 images of each class are
the test split, the other 897 the training pool, both in scikit-learn's order.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits

PER_CLASS = 90
TARGET = Path(__file__).resolve().parent.parent / "fairbench" / "data" / "digits.npz"
SOURCE = (
    "Optical Recognition of Handwritten Digits, UCI Machine Learning Repository, doi 10.24432/C50P49; "
    "test part, 1797 scans, 8x8"
)
LICENCE = "CC BY 4.0, E. Alpaydin & C. Kaynak, 1998"


def main() -> None:
    digits = load_digits()
    x = np.rint(digits.images * (255 / 16)).astype(np.uint8)
    y = digits.target.astype(np.int64)
    random = np.random.RandomState(0)  # its stream is frozen for good, unlike default_rng's
    test = np.zeros(len(y), dtype=bool)
    for c in range(10):
        test[random.permutation(np.flatnonzero(y == c))[:PER_CLASS]] = True
    np.savez_compressed(
        TARGET, x_train=x[~test], y_train=y[~test].astype(np.uint8), x_test=x[test], y_test=y[test].astype(np.uint8),
        source=np.array(SOURCE), licence=np.array(LICENCE),
    )  # fmt: skip
    print(f"{TARGET.name}: {np.sum(~test)} for training, {np.sum(test)} for testing, {TARGET.stat().st_size} bytes")


if __name__ == "__main__":
    main()
