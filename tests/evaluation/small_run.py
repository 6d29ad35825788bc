"""A small network and data set, and as a script their evaluation: small_run.py OUT ATTACKS BATCH_SIZE [OPTION].

OPTION is "save-adversarial". The script prints one line per finished block, so that a test can kill it at a chosen
place.
"""

from __future__ import annotations

import sys

import numpy as np
import torch
from torch import nn

from fairbench.data.dataset import ArrayDataset
from fairbench.evaluation.evaluate import evaluate
from fairbench.progress import Silent


def small_network(num_classes: int = 5, seed: int = 3) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.Softplus(), nn.Flatten(), nn.Linear(144, num_classes))
        for p in model.parameters():
            p.data.mul_(2)
    return model.eval()


def small_dataset(model: nn.Module, count: int = 45, num_classes: int = 5) -> ArrayDataset:
    """Images with their predicted labels, except every ninth; indices with gaps, in a shuffled order."""
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(count, 1, 6, 6, generator=generator)
    with torch.no_grad():
        y = model(x).argmax(1)
    y[::9] = (y[::9] + 1) % num_classes
    index = np.random.default_rng(0).permutation(3 * count)[:count]
    names = [f"class {c}" for c in range(num_classes)]
    return ArrayDataset(x, y, class_names=names, name="synthetic", index=index)


class Lines(Silent):
    def advance(self, bar: int, amount: float = 1) -> None:
        print("block", flush=True)


def main(out: str, attacks: str, batch_size: str, save: str = "") -> None:
    from fairbench import distributed

    torch.set_num_threads(1)
    distributed.start(torch.device("cpu"))
    model = small_network()
    evaluate(
        model, small_dataset(model), attacks, eps="0.1", batch_size=int(batch_size), out=out, progress=Lines(),
        save_adversarial=save == "save-adversarial",
    )  # fmt: skip
    distributed.stop()


if __name__ == "__main__":
    main(*sys.argv[1:])
