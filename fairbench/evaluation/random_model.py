"""Models with noise of their own: every forward draws from a generator with a key, and a majority of draws decides.

A random model's single verdict is a coin toss, so that an attack would only have to toss often enough. Here a sample
counts as broken where more than half of 20 forwards err, and these forwards draw the same for a block whatever attacks
it: equal pixels get equal verdicts, and no part of a cascade tosses anew. Gradients are those of other single draws, of
which AutoAttack's version "rand" averages 20 per step (Athalye, Carlini & Wagner, ICML 2018, arXiv 1802.00420, "EOT").

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
    """A random network under attack: its noise is keyed by the seed, the work in hand and the number of the forward."""

    def __init__(self, network: nn.Module, seed: int) -> None:
        super().__init__()
        self.network, self._seed, self._work, self._forwards = network, seed, "preflight", 0

    def begin(self, unit: str, x: Tensor, index: Tensor) -> None:
        """Begin a block of a unit, `x` (B, C, H, W), `index` (B,): its forwards are numbered from 0."""
        self._work, self._forwards = f"{unit}/{int(index.min())}", 0

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, K) logits of one draw."""
        self._forwards += 1
        return self._drawn(f"{self._work}/{self._forwards}", x)

    def _drawn(self, what: str, x: Tensor) -> Tensor:
        key = hashlib.blake2b(f"{self._seed}/{what}".encode(), digest_size=4).digest()
        with _forked(int.from_bytes(key, "little"), x.device):
            logits: Tensor = self.network(x)
        return logits


class RandomJudge(RandomModel):
    """A random network that decides: 20 draws that belong to a block, and not to the attack that asks."""

    _x: Tensor
    _index: Tensor

    def begin(self, unit: str, x: Tensor, index: Tensor) -> None:
        """Begin a block, `x` (B, C, H, W) its natural images, `index` (B,) in ascending order."""
        super().begin(unit, x, index)
        self._x, self._index = x, index

    def draws(self, x: Tensor, index: Tensor) -> Tensor:
        """Return (20, b, K) logits of 20 draws of some of the block's samples, `x` (b, C, H, W) and `index` (b,).

        The whole block is run each time, the others as they are by nature: a sample's noise depends on its place.
        """
        place = torch.searchsorted(self._index, index)
        whole = self._x.clone()
        whole[place] = x
        first = int(self._index.min())
        with torch.no_grad():
            return torch.stack([self._drawn(f"verdict/{first}/{draw}", whole)[place] for draw in range(DRAWS)])

    def errs(self, x: Tensor, y: Tensor, index: Tensor) -> Tensor:
        """Return which samples most of 20 draws misclassify, (b,)."""
        return (self.draws(x, index).argmax(2) != y).sum(0) * 2 > DRAWS


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
