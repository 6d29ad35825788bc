"""The networks of one evaluation: the one that decides, the one that is attacked, and the arithmetic around them.

Shape key: B batch, C H W image, K classes.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import get_args

import torch
from torch import Tensor, nn

from fairbench.errors import BadInput, unknown
from fairbench.evaluation.random_model import RandomJudge, RandomModel
from fairbench.models.attack_copy import Precision


class _Autocast(nn.Module):
    """The same weights under bfloat16 autocast; float32 logits."""

    def __init__(self, network: nn.Module, device: torch.device) -> None:
        super().__init__()
        self.network, self.device_type = network, device.type

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(self.device_type, torch.bfloat16):
            logits: Tensor = self.network(x)
        return logits.float()


class _Float64(nn.Module):
    """A float64 copy of the network between float32 pixels and float32 logits."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = copy.deepcopy(network).double()

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.network(x.double())
        return logits.float()


@dataclass(frozen=True)
class Networks:
    """The networks of one evaluation.

    Attributes:
        judge: predicts every adversarial example again and decides.
        gradient: what gradient attacks run on.
        original: the model as it was given, of which attacks may make copies.
        precision: of the attacked copies.
    """

    judge: nn.Module
    gradient: nn.Module
    original: nn.Module
    precision: Precision = "float32"

    @property
    def random(self) -> bool:
        """Whether the model has noise of its own."""
        return isinstance(self.judge, RandomModel)

    def begin(self, unit: str, x: Tensor, index: Tensor) -> None:
        """Begin a block of a unit, `x` (B, C, H, W) and `index` (B,): a random model's noise is keyed by it."""
        for network in (self.judge, self.gradient):
            if isinstance(network, RandomModel):
                network.begin(unit, x, index)

    @property
    def judge_if_other(self) -> nn.Module | None:
        """The judge where it is another network than the attacked one; None where they are the same."""
        return None if self.judge is self.gradient else self.judge


def check_precision(precision: str) -> None:
    """Refuse an unknown precision.

    Raises:
        BadInput: it is unknown.
    """
    if precision not in get_args(Precision):
        raise unknown("precision", precision, get_args(Precision))


def networks(
    model: nn.Module, precision: str, device: torch.device, *, random: bool = False, seed: int = 0
) -> Networks:
    """Return the networks: bf16 attacks a bfloat16 copy and decides in float32; float64 does everything in float64.

    `random`: the model has noise of its own, which is keyed by `seed`.
    """
    if random:
        nets = networks(model, precision, device)
        judge = RandomJudge(nets.judge, seed).eval()
        return replace(nets, judge=judge, gradient=RandomModel(nets.gradient, seed).eval())
    if precision == "bf16":
        return Networks(model, _Autocast(model, device).eval(), model, "bf16")
    if precision == "float64":
        network = _Float64(model).eval()
        return Networks(network, network, model, "float64")
    return Networks(model, model, model)


def device_of(text: str | torch.device) -> torch.device:
    """Return the device that `text` names.

    Raises:
        BadInput: no such device on this machine.
    """
    try:
        device = torch.device(text)
    except RuntimeError:
        raise BadInput(f"device must be cpu, cuda or cuda:N, but is {str(text)[:40]!r}.") from None
    if device.type not in ("cpu", "cuda"):
        raise BadInput(f"device must be cpu, cuda or cuda:N, but is {str(text)[:40]!r}.")
    if device.type == "cuda" and (not torch.cuda.is_available() or (device.index or 0) >= torch.cuda.device_count()):
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        raise BadInput(
            f"device {str(text)[:40]!r} is not there: this machine has {count} CUDA device(s); use --device cpu."
        )
    return device


@contextmanager
def frozen(model: nn.Module) -> Iterator[None]:
    """Take the parameters out of the graph: no weight gradients, fewer stored activations; restored afterwards."""
    parameters = [(p, p.requires_grad) for p in model.parameters()]
    for p, _ in parameters:
        p.requires_grad_(False)
    try:
        yield
    finally:
        for p, required in parameters:
            p.requires_grad_(required)


@contextmanager
def exact_arithmetic(threads: int | None) -> Iterator[int]:
    """Run with float32 that is float32 (no TF32), deterministic convolutions and a fixed number of threads.

    Yields:
        The number of threads: `threads`, or what PyTorch uses (all cores; 1 under torchrun).
    """
    before, matmul = torch.get_num_threads(), torch.get_float32_matmul_precision()
    try:
        if threads is not None:
            torch.set_num_threads(threads)
        torch.set_float32_matmul_precision("highest")
        with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False):
            yield torch.get_num_threads()
    finally:
        torch.set_num_threads(before)
        torch.set_float32_matmul_precision(matmul)
