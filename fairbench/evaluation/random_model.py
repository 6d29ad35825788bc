"""Models with noise of their own: every forward draws from a generator with a key, and a majority of draws decides.

A random model's single verdict is a coin toss, so that an attack would only have to toss often enough. Here a sample
counts as broken where more than half of 20 forwards err. Gradients are those of single draws; AutoAttack's version
"rand" averages 20 of them per step (Athalye, Carlini & Wagner, ICML 2018, arXiv 1802.00420, "EOT").

Shape key: B batch, K classes, C H W image.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn

from fairbench.losses import cross_entropy, margin

DRAWS = 20


class RandomModel(nn.Module):
    """A random network whose noise is keyed by the seed, the work in hand and the number of the forward."""

    def __init__(self, network: nn.Module, seed: int) -> None:
        super().__init__()
        self.network, self._seed, self._work, self._forwards = network, seed, "preflight", 0

    def begin(self, unit: str, index: Tensor) -> None:
        """Begin a block of a unit, `index` (B,): its forwards are numbered from 0."""
        self._work, self._forwards = f"{unit}/{int(index.min())}", 0

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, K) logits of one draw."""
        key = hashlib.blake2b(f"{self._seed}/{self._work}/{self._forwards}".encode(), digest_size=4).digest()
        self._forwards += 1
        with _forked(int.from_bytes(key, "little"), x.device):
            logits: Tensor = self.network(x)
        return logits

    def draws(self, x: Tensor) -> Tensor:
        """Return (20, B, K) logits of 20 draws."""
        with torch.no_grad():
            return torch.stack([self(x) for _ in range(DRAWS)])

    def errs(self, x: Tensor, y: Tensor) -> Tensor:
        """Return which samples most of 20 draws misclassify, (B,)."""
        return (self.draws(x).argmax(2) != y).sum(0) * 2 > DRAWS


def majority(draws: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return prediction, mean loss and mean margin of draws (D, B, K), each (B,).

    The prediction is the label unless more than half of the draws err, and then the most frequent other class.
    """
    found = draws.argmax(2)
    votes = nn.functional.one_hot(found, draws.shape[2]).sum(0)
    err = (found != y).sum(0) * 2 > len(draws)
    rival = votes.scatter(1, y[:, None], -1).argmax(1)
    losses = torch.stack([cross_entropy(logits, y) for logits in draws])
    margins = torch.stack([margin(logits, y) for logits in draws])
    return torch.where(err, rival, y), losses.mean(0), margins.mean(0)


@contextmanager
def _forked(seed: int, device: torch.device) -> Iterator[None]:
    """Seed PyTorch's, NumPy's and Python's global generators, and give them back as they were."""
    # NumPy's old global generator is what a model of somebody else may draw from.
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002
    try:
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.manual_seed(seed)
            np.random.seed(seed)  # noqa: NPY002
            random.seed(seed)
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)  # noqa: NPY002
