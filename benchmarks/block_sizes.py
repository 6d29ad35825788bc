"""Verdicts that another block size flips: none in float64, a few by rounding in float32.

    FAIRBENCH_DATA=... python benchmarks/block_sizes.py --checkpoint cifar10_resnet2b mnist_fgsm --samples 100

The first images are evaluated in blocks of 1, 7, 64 and all, with everything else equal, through `fairbench.evaluate`.
Printed are, for each attack and part, the samples that it leaves robust in one block, and how many predictions and how
many verdicts differ from those in smaller blocks: "3/1".
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Sequence

import numpy as np
from real_networks import EPS, first_images, network

from fairbench.evaluation.evaluate import evaluate
from fairbench.runs import Run

SIZES = (1, 7, 64)
ATTACKS = "pgd20,aa(steps=20,queries=500)"


def main(argv: Sequence[str] | None = None) -> int:
    options = _arguments().parse_args(argv)
    warnings.simplefilter("ignore")
    for checkpoint in options.checkpoint:
        for precision in options.precisions:
            _compare(checkpoint, precision, options)
    return 0


def _compare(checkpoint: str, precision: str, options: argparse.Namespace) -> None:
    model, dataset = network(checkpoint, None)
    eps = EPS["mnist" if "mnist" in dataset else "cifar10"][options.norm]
    x, y = first_images(model, dataset, options.samples, eps)

    def run(size: int) -> Run:
        return evaluate(
            model, x, options.attacks, y=y, norm=options.norm, eps=eps, batch_size=size, precision=precision,
            threads=options.threads, accept=["low-accuracy"], model_record={"name": checkpoint, "sha256": "0" * 64,
            "normalize": "none"},
        )  # fmt: skip

    whole = run(len(x))
    others = [run(size) for size in SIZES]
    print(f"{checkpoint}, {options.norm} {eps:.6g}, {len(x)} samples, {precision}, {options.threads} thread(s)")
    print(f"{'attack':36}{'robust':>7}" + "".join(f"{f'blocks of {size}':>14}" for size in SIZES))
    for attack in whole.outcomes.attacks:
        cells = "".join(f"{_differing(whole, other, attack):>14}" for other in others)
        print(f"{attack:36}{int(whole.outcomes.robust(attack).sum()):7d}{cells}", flush=True)


def _differing(one: Run, other: Run, attack: str) -> str:
    """Return how many samples' predictions, and how many verdicts, differ: "3/1"."""
    frames = (run.outcomes.frame for run in (one, other))
    tables = [frame[frame["attack"] == attack].sort_values("index") for frame in frames]
    predictions = np.not_equal(*(table["prediction"].to_numpy() for table in tables)).sum()
    return f"{predictions}/{(one.outcomes.robust(attack) != other.outcomes.robust(attack)).sum()}"


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--checkpoint", nargs="+", default=["cifar10_resnet2b"], help="names in FAIRBENCH_DATA/models")
    add("--samples", type=int, default=100)
    add("--attacks", default=ATTACKS, help=f"default: {ATTACKS}")
    add("--norm", default="Linf", choices=("Linf", "L2", "L1"))
    add("--precisions", nargs="+", default=("float32", "float64"), choices=("float32", "float64"))
    add("--threads", type=int, default=1)
    return parser


if __name__ == "__main__":
    sys.exit(main())
