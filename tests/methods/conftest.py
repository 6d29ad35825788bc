"""A tiny network, a teacher and a batch on which every method runs in milliseconds."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from fairbench.methods import METHODS
from fairbench.methods.base import Batch, Method
from fairbench.sample_random import SampleRandom

NUM_CLASSES = 4


class Logits(nn.Module):
    """The pixels are the logits: (B, K, 1, 1) in, (B, K) out, plus a trainable shift that starts at 0."""

    def __init__(self, num_classes: int = 2) -> None:
        super().__init__()
        self.shift = nn.Parameter(torch.zeros(num_classes, dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1) + self.shift


def network(seed: int = 0, *, batch_norm: bool = True) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        norm = [nn.BatchNorm2d(6)] if batch_norm else []
        return nn.Sequential(
            nn.Conv2d(1, 6, 3),
            *norm,
            nn.Tanh(),
            nn.Flatten(),
            nn.Linear(6 * 4, 8),
            nn.Tanh(),
            nn.Linear(8, NUM_CLASSES),
        )


def batch(y: list[int] | None = None, seed: int = 0) -> Batch:
    labels = torch.tensor([0, 1, 2, 3, 0, 1, 2, 3] if y is None else y)
    generator = torch.Generator().manual_seed(seed)
    return Batch(torch.rand(len(labels), 1, 4, 4, generator=generator), labels, torch.arange(len(labels)))


def random(of: Batch, epoch: int = 0) -> SampleRandom:
    return SampleRandom(0, "train", of.index, epoch=epoch)


def method(name: str, **options: object) -> Method:
    cls = METHODS[name]
    teachers = {role: network(7 + k) for k, role in enumerate(cls.roles)}
    return cls(NUM_CLASSES, eps=0.1, teachers=teachers, **options)  # type: ignore[arg-type]


@pytest.fixture
def tiny() -> SimpleNamespace:
    return SimpleNamespace(
        network=network, batch=batch, random=random, method=method, Logits=Logits, num_classes=NUM_CLASSES
    )


@pytest.fixture
def pixels_are_logits():
    """Return a function (natural, adversarial logits, labels, extra) -> (student, Batch), two classes."""

    def make(natural, adversarial, y, **extra):
        x, x_adv = (torch.tensor(rows, dtype=torch.float64)[:, :, None, None] for rows in (natural, adversarial))
        labels = torch.tensor(y)
        columns = {name: torch.tensor(value, dtype=torch.float64) for name, value in extra.items()}
        return Logits(x.shape[1]), Batch(x, labels, torch.arange(len(y)), x_adv, columns)

    return make
