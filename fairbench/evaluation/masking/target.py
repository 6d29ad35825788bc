"""What the probes look at: a model, some images, and verdicts on what attacks make of them.

Shape key: N images, n of them, C H W image, K classes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor, nn

from fairbench.evaluation.judging import check_example, check_logits, into_ball
from fairbench.evaluation.masking.decide import Bools, Ints
from fairbench.sample_random import SampleRandom
from fairbench.threat import Threat

#: (model, x, y, random) -> x_adv, all of the same n images.
Attack = Callable[[nn.Module, Tensor, Tensor, SampleRandom], Tensor]


def batches(values: Tensor, size: int) -> list[Tensor]:
    """Cut (n, ...) into pieces of `size`; no piece where there is nothing."""
    return [values[start : start + size] for start in range(0, len(values), size)]


@dataclass(frozen=True)
class Target:
    """A frozen model in eval mode and (N, C, H, W) images in [0, 1] with labels (N,) and identities (N,).

    `batch_size` images share a forward.
    """

    model: nn.Module
    x: Tensor
    y: Tensor
    index: Tensor
    threat: Threat
    batch_size: int
    seed: int = 0

    @property
    def labels(self) -> Ints:
        """(N,) labels."""
        return np.asarray(self.y.cpu().numpy())

    def everyone(self) -> Tensor:
        """(N,) the places of all images."""
        return torch.arange(len(self.y), device=self.y.device)

    def within(self, threat: Threat) -> Target:
        """Return the same target under another threat."""
        return replace(self, threat=threat)

    def random(self, purpose: str, rows: Tensor | None = None) -> SampleRandom:
        """Return the streams of the images at `rows` (None: all)."""
        return SampleRandom(self.seed, f"check/{purpose}", self.index if rows is None else self.index[rows])

    def logits(self, x: Tensor, what: str = "the images of the check") -> Tensor:
        """Return (n, K) logits, of a batch at a time.

        Raises:
            Refused: "nan-logits".
        """
        with torch.no_grad():
            logits = torch.cat([self.model(piece) for piece in batches(x, self.batch_size)])
        check_logits(logits, what=what)
        return logits

    @cached_property
    def natural(self) -> Tensor:
        """(N, K) logits of the images."""
        return self.logits(self.x)

    @cached_property
    def right(self) -> Tensor:
        """(N,) which images are classified right."""
        return self.natural.argmax(1) == self.y

    def each(self, function: Callable[[Tensor], Tensor], rows: Tensor) -> Tensor:
        """Apply a function of places to a batch of them at a time, and join what it returns."""
        return torch.cat([function(piece) for piece in batches(rows, self.batch_size)])

    def broken_by(self, attack: Attack, rows: Tensor, purpose: str) -> Bools:
        """Attack the images at `rows`, and return (N,) which of them the model now errs on, radius and range checked.

        Raises:
            Refused: "left-ball" or "nan-logits".
        """
        broken = np.zeros(len(self.y), dtype=bool)
        for piece in batches(rows, self.batch_size):
            x, y = self.x[piece], self.y[piece]
            x_adv = attack(self.model, x, y, self.random(purpose, piece))
            check_example(x_adv, x, attack=purpose, threat=self.threat, slack=1e-3)
            logits = self.logits(into_ball(x_adv, x, self.threat), f"examples of {purpose}")
            broken[piece.cpu().numpy()] = (logits.argmax(1) != y).cpu().numpy()
        return broken

    def places(self, chosen: Bools) -> Tensor:
        """Return the places of the chosen images, (n,)."""
        return torch.from_numpy(np.flatnonzero(chosen)).to(self.y.device)
