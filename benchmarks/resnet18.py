"""AutoAttack at ResNet-18 cost, ours and pyautoattack's: a short adversarial training, then reduced budgets.

    FAIRBENCH_DATA=... python benchmarks/resnet18.py [--threads 2] [--out runs/resnet18]

Trains a ResNet-18 with batch norm on 54 real CIFAR-10 images of each class (single-step adversarial training with a
uniform start, minutes on two cores), and runs `benchmarks/autoattack.py` on the first 16 test images that the network
keeps under PGD-20: once in float32, once in bf16. Both engines take the same reduced budget (printed), Square's few
queries with squares from the whole schedule; the last row is each part's seconds times the ratio of the counts. A
network that is there already is not trained again. The
radius is small, because a network of a few minutes stays robust only there: the cost per forward is what is measured.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

import autoattack
import numpy as np
from real_networks import folder

EPS = "0.5/255"
#: Of the two engines, both: steps of APGD and FAB, queries of Square, targets.
BUDGET = ("--steps", "10", "--queries", "100", "--targets", "3", "--rescale")


def subset(out: Path, data: Path) -> Path:
    """Write 60 training images of each class, 6 of which become validation images, and the first 500 test images."""
    folder = out / "images"
    folder.mkdir(parents=True, exist_ok=True)
    train, test = np.load(data / "train-0.npz"), np.load(data / "test.npz")
    x, y = train["x"], train["y"]
    rows = np.sort(np.concatenate([np.flatnonzero(y == label)[:60] for label in range(10)]))
    names = test["class_names"]
    np.savez(folder / "train.npz", x=x[rows], y=y[rows], class_names=names)
    np.savez(folder / "test.npz", x=test["x"][:500], y=test["y"][:500], class_names=names)
    return folder


def train(out: Path, images: Path, threads: int) -> None:
    command = [
        sys.executable, "-m", "fairbench", "train", "--dataset", f"npz:{images}", "--model", "resnet18",
        "--method", "sat", "-p", "steps=1", "-p", "step_share=1", "--epochs", "10",
        "--batch-size", "50", "--lr", "0.05", "--eps", EPS, "--seed", "0", "--select", "last", "--name", "resnet18",
        "--out", str(out),
    ]  # fmt: skip
    environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
    subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--samples", type=int, default=16)
    parser.add_argument("--out", type=Path, default=Path("runs/resnet18"))
    options = parser.parse_args()
    data = folder()
    images = subset(options.out, data / "cifar10")
    checkpoint = options.out / "resnet18.pt"
    if not checkpoint.exists():
        train(options.out, images, options.threads)
    for precision in ("float32", "bf16"):
        autoattack.main(
            [
                "--checkpoint", str(checkpoint), "--dataset", f"npz:{images / 'test.npz'}", "--robust",
                "--samples", str(options.samples), "--eps", EPS, "--threads", str(options.threads),
                "--precision", precision, *BUDGET,
            ]
        )  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main())
