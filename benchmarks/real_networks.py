"""Networks and images of the benchmarks: real checkpoints in FAIRBENCH_DATA, or a checkpoint of one's own."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path

import torch
from torch import Tensor, nn

from fairbench.attacks.pgd import pgd
from fairbench.data import load_dataset
from fairbench.data.dataset import to_unit
from fairbench.models.load import load_model
from fairbench.sample_random import SampleRandom

EPS = {"mnist": {"Linf": 0.3, "L2": 1.5, "L1": 10.0}, "cifar10": {"Linf": 2 / 255, "L2": 0.25, "L1": 6.0}}


def folder() -> Path:
    data = Path(os.environ.get("FAIRBENCH_DATA", "does-not-exist"))
    if not (data / "models").is_dir():
        sys.exit("FAIRBENCH_DATA must name a folder with real images and checkpoints.")
    return data


def network(name: str, dataset: str | None) -> tuple[nn.Module, str]:
    if Path(name).suffix:
        assert dataset is not None, "--dataset is needed with a checkpoint of your own"
        model = load_model(Path(name))
    else:
        models = folder() / "models"
        spec = importlib.util.spec_from_file_location("architectures", models / "architectures.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        model = getattr(module, name)()
        model.load_state_dict(torch.load(models / f"{name}.pt", weights_only=True))
        dataset = dataset or ("mnist" if name.startswith("mnist") else f"npz:{folder()}/cifar10/test.npz")
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    return model.eval(), dataset


def first_images(model: nn.Module, name: str, count: int, eps: float) -> tuple[Tensor, Tensor]:
    """Return the first images, whatever the model makes of them."""
    dataset = load_dataset(name)
    positions = list(range(min(count, len(dataset))))
    return to_unit(dataset.pixels(positions), "cpu").contiguous(), torch.from_numpy(dataset.y[positions])


def robust_images(model: nn.Module, name: str, count: int, eps: float) -> tuple[Tensor, Tensor]:
    """Return the first images that PGD-20 does not break: none leaves early, and every part pays its whole budget."""
    dataset = load_dataset(name)
    kept: list[int] = []
    for start in range(0, len(dataset), 100):
        rows = list(range(start, min(start + 100, len(dataset))))
        x, y = to_unit(dataset.pixels(rows), "cpu").contiguous(), torch.from_numpy(dataset.y[rows])
        with torch.no_grad():
            right = model(x).argmax(1) == y
        random = SampleRandom(0, "robust", torch.tensor(rows)[right])
        x_adv = pgd(model, x[right], y[right], eps=eps, step_size=eps / 4, steps=20, random=random)
        with torch.no_grad():
            kept += torch.tensor(rows)[right][model(x_adv).argmax(1) == y[right]].tolist()
        if len(kept) >= count:
            break
    kept = kept[:count]
    return to_unit(dataset.pixels(kept), "cpu").contiguous(), torch.from_numpy(dataset.y[kept])
