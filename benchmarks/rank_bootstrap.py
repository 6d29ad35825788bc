"""Why the agreement of two class rankings has exact limits: what bootstraps of the images cover, by simulation.

python benchmarks/rank_bootstrap.py

Ten classes, two attacks on the same images, the second one breaking some of what the first leaves. For each of 300
tables: 95 % limits of Kendall's tau from 600 posterior draws of the class accuracies (percentile, and reflected at the
estimate), and those of `order_agreement`. Printed: how often each holds the true tau, and its mean width.
"""

from __future__ import annotations

import numpy as np
from scipy import stats

from fairbench.metrics.rank import kendall, order_agreement

PROFILES = {
    "within 4 points": (np.linspace(0.52, 0.56, 10), np.linspace(0.48, 0.52, 10)),
    "60 points apart": (np.linspace(0.3, 0.9, 10), np.linspace(0.2, 0.8, 10)),
    "opposite order": (np.linspace(0.5, 0.9, 10), np.linspace(0.5, 0.2, 10)),
}
TABLES, DRAWS = 300, 600


def tau_of(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    i, j = np.triu_indices(a.shape[-1], 1)
    return (np.sign(a[..., i] - a[..., j]) * np.sign(b[..., i] - b[..., j])).mean(-1)


def main() -> None:
    rng = np.random.default_rng(0)
    print("| classes | images each | true tau | percentile | reflected | exact |\n|---|---|---|---|---|---|")
    for name, (first, second) in PROFILES.items():
        true = float(stats.kendalltau(first, second).statistic)
        for count in (90, 1000):
            limits = np.zeros((TABLES, 3, 2))
            for table in range(TABLES):
                a = rng.binomial(count, first)
                b = rng.binomial(a, second / first)
                cells = np.stack([b, a - b, count - a], axis=1)
                drawn = rng.standard_gamma(cells + 1 / 3, size=(DRAWS, 10, 3))
                drawn /= drawn.sum(-1, keepdims=True)
                low, high = np.quantile(tau_of(drawn[..., 0] + drawn[..., 1], drawn[..., 0]), [0.025, 0.975])
                tau, n = kendall(a, b)[0], np.full(10, count)
                exact = order_agreement(a, n, b, n)
                limits[table] = (low, high), np.clip((2 * tau - high, 2 * tau - low), -1, 1), (exact.low, exact.high)
            held = (limits[..., 0] - 1e-9 <= true) & (true <= limits[..., 1] + 1e-9)
            width = (limits[..., 1] - limits[..., 0]).mean(axis=0)
            cells = " | ".join(f"{h:.2f} ({w:.2f})" for h, w in zip(held.mean(axis=0), width, strict=True))
            print(f"| {name} | {count} | {true:.2f} | {cells} |", flush=True)


if __name__ == "__main__":
    main()
