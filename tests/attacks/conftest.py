"""Networks whose attacks are known in closed form, or cheap enough to attack hundreds of times."""

from __future__ import annotations

import runpy
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from fairbench.data import load_dataset
from fairbench.data.dataset import to_unit
from fairbench.sample_random import SampleRandom


class Linear(nn.Module):
    """Two classes with logits (-w.x / 2, w.x / 2): the margin of class 1 is w.x, and its gradient is w everywhere."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)
        self.forwards = 0

    def forward(self, x: Tensor) -> Tensor:
        self.forwards += 1
        value = x.flatten(1) @ self.weight.to(x.dtype)
        return torch.stack([-value / 2, value / 2], 1)


@pytest.fixture
def linear() -> Linear:
    """w of 12 entries, none of them near 0, of both signs."""
    w = torch.tensor([1.0, -2.0, 0.5, 3.0, -0.25, 1.5, -1.0, 2.5, -3.5, 0.75, 0.1, -0.6])
    return Linear(w).eval().requires_grad_(False)


@pytest.fixture
def inner_images() -> tuple[Tensor, Tensor]:
    """Eight (3, 2, 2) images with pixels in [0.3, 0.7]: a ball of radius 0.1 stays away from the pixel box."""
    generator = torch.Generator().manual_seed(1)
    return 0.3 + 0.4 * torch.rand(8, 3, 2, 2, generator=generator), torch.tensor([0, 1] * 4)


@pytest.fixture
def network() -> nn.Module:
    """A small smooth network of five classes on (1, 6, 6) images, in eval mode, with batch norm and dropout."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        model = nn.Sequential(
            nn.Conv2d(1, 6, 3, padding=1), nn.BatchNorm2d(6), nn.Softplus(), nn.Dropout(0.5), nn.Flatten(),
            nn.Linear(216, 5),
        )  # fmt: skip
        model[1].running_var.uniform_(0.5, 2.0)
        for p in model.parameters():
            p.data.mul_(2)
    return model.eval()


@pytest.fixture
def images(network: nn.Module) -> tuple[Tensor, Tensor]:
    """Seven (1, 6, 6) images with exact zeros and ones; the network is right on all but sample 1."""
    generator = torch.Generator().manual_seed(2)
    x = (1.4 * torch.rand(7, 1, 6, 6, generator=generator) - 0.2).clamp(0, 1)
    with torch.no_grad():
        y = network(x).argmax(1)
    y[1] = (y[1] + 1) % 5
    return x, y


@pytest.fixture
def random() -> SampleRandom:
    """The streams of seven samples whose indices are not consecutive."""
    return SampleRandom(0, "test", torch.tensor([3, 10, 11, 40, 41, 42, 99]))


@pytest.fixture
def real_checkpoint(real_data: Path) -> Callable[[str, int], tuple[nn.Module, Tensor, Tensor]]:
    """(name, count) -> a real network, and the first test images that it classifies right, with their labels."""

    def load(name: str, count: int) -> tuple[nn.Module, Tensor, Tensor]:
        network = runpy.run_path(str(real_data / "models" / "architectures.py"))[name]()
        network.load_state_dict(torch.load(real_data / "models" / f"{name}.pt", weights_only=True))
        network.eval().requires_grad_(False)
        source = "mnist" if name.startswith("mnist") else f"npz:{real_data}/cifar10/test.npz"
        dataset = load_dataset(source, data_dir=real_data)
        x, y = to_unit(dataset.pixels(range(3 * count)), "cpu").contiguous(), torch.from_numpy(dataset.y[: 3 * count])
        with torch.no_grad():
            right = (network(x).argmax(1) == y).nonzero()[:count, 0]
        return network, x[right], y[right]

    return load
