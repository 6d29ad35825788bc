"""What rounding does to AutoAttack's gradient parts: verdicts that flip and examples that move, from equal noise.

    FAIRBENCH_DATA=... python benchmarks/autoattack_flips.py --checkpoint cifar10_resnet2b --samples 200

Three comparisons per part, in float32 on the same samples with the original's noise (seed 0):

    layouts   the original against itself, images and weights contiguous against channels-last
    plain     ours with every fast path off against the original: should differ no more than the layouts do
    fast      ours as it is used (attack copy, samples leave, Newton's projection, reuse) against ours plain

"broken" are the original's; "flips" are verdicts that differ; "moved" are examples, of those found by both, that differ
by more than 1e-5. A sample that leaves at its first example moves by design, so only flips are counted for `fast`.

APGD-T draws new noise for each target, for the samples that are left: after a flip the samples behind it in the batch
start from other noise, in every comparison alike. Reduced --steps and --targets hold for both engines.
"""

from __future__ import annotations

import argparse
import copy
import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from engines import original
from real_networks import EPS, first_images, network
from torch import Tensor, nn

from fairbench.attacks.apgd import apgd, apgd_targeted
from fairbench.attacks.attack_memory import laid_out
from fairbench.attacks.fab import fab, fab_targeted
from fairbench.attacks.linf import Start
from fairbench.attacks.norm_ball import l1_projection, spread, unit
from fairbench.models.attack_copy import attack_copy
from fairbench.sample_random import SampleRandom
from fairbench.threat import Norm, Threat

PARTS = ("apgd-ce", "apgd-dlr", "apgd-t", "fab", "fab-t")


def main(argv: Sequence[str] | None = None) -> int:
    options = _arguments().parse_args(argv)
    torch.set_num_threads(options.threads)
    warnings.simplefilter("ignore")
    model, dataset = network(options.checkpoint, options.dataset)
    eps = _eps(dataset, options)
    x, y = first_images(model, dataset, options.samples, eps)
    with torch.no_grad():
        right = model(x).argmax(1) == y
    x, y = x[right], y[right]
    print(
        f"{options.checkpoint}, {options.norm} {eps:.6g}, {len(x)} samples, {options.steps} steps, "
        f"{options.targets} targets, {options.threads} thread(s), float32, torch {torch.__version__}"
    )
    print(
        f"{'part':10}{'broken':>8}{'layouts: flips':>16}{'moved':>7}{'plain: flips':>14}{'moved':>7}{'fast: flips':>13}"
    )
    for part in options.parts:
        found = flips_of(part, model, x, y, eps, options)
        print(
            f"{part:10}{found.broken:8d}{found.layouts:16d}{found.layouts_moved:7d}{found.plain:14d}"
            f"{found.plain_moved:7d}{found.fast:13d}",
            flush=True,
        )
    return 0


@dataclass(frozen=True)
class Flips:
    """One part's verdicts: how many the original breaks, and the three comparisons of this script's head."""

    broken: int
    layouts: int
    layouts_moved: int
    plain: int
    plain_moved: int
    fast: int


def flips_of(part: str, model: nn.Module, x: Tensor, y: Tensor, eps: float, options: Any) -> Flips:
    """Run a part four times on samples that the model gets right; `options` as on the command line."""
    theirs = original(part, model, x, y, eps, options)
    turned = original(part, Turned(copy.deepcopy(model)), x, y, eps, options)
    plain = _ours(part, model, x, y, eps, options, fast=False)
    quick = _ours(part, model, x, y, eps, options, fast=True)
    verdicts = [_broken(model, x_adv, y) for x_adv in (theirs, turned, plain, quick)]

    def moved(x_adv: Tensor, broken: Tensor) -> int:
        return int((((theirs - x_adv).abs().flatten(1).amax(1) > 1e-5) & verdicts[0] & broken).sum())

    def flipped(one: int, other: int) -> int:
        return int((verdicts[one] != verdicts[other]).sum())

    return Flips(
        int(verdicts[0].sum()), flipped(0, 1), moved(turned, verdicts[1]), flipped(0, 2), moved(plain, verdicts[2]),
        flipped(2, 3),
    )  # fmt: skip


class Turned(nn.Module):
    """A network whose inside is channels-last; its images and gradients stay as they are, since the package's DLR loss
    cannot look at others."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network.to(memory_format=torch.channels_last)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.network(_Turn.apply(x))
        return logits


class _Turn(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.contiguous(memory_format=torch.channels_last)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient.contiguous()


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--checkpoint", default="mnist_pgd", help="a name in FAIRBENCH_DATA/models, or a checkpoint with its sidecar")
    add("--dataset", help="for a checkpoint of your own: a name, npz:FILE or folder:PATH")
    add("--samples", type=int, default=100, help="the first ones; those that are wrong without an attack are left out")
    add("--threads", type=int, default=1)
    add("--norm", default="Linf", choices=("Linf", "L2", "L1"))
    add("--eps", help="as 2/255 or 0.3; a usual one of MNIST or CIFAR-10 where not given")
    add("--parts", default=PARTS, type=lambda text: tuple(text.split(",")), help=f"of {', '.join(PARTS)}")
    add("--steps", type=int, default=100, help="of APGD and FAB in both engines")
    add("--targets", type=int, default=9)
    parser.set_defaults(queries=0)  # of Square, which draws its noise per sample here and has no part in this
    return parser


def _eps(dataset: str, options: argparse.Namespace) -> float:
    if options.eps is not None:
        return Threat.parse(options.norm, options.eps).eps
    for name, known in EPS.items():
        if name in dataset:
            return known[options.norm]
    raise SystemExit(f"--eps is needed: no usual radius is known for {dataset!r}, only for {', '.join(EPS)}.")


def _broken(model: nn.Module, x_adv: Tensor, y: Tensor) -> Tensor:
    with torch.no_grad():
        return model(x_adv).argmax(1) != y


def _start(part: str, norm: Norm) -> Start:
    """Return the original's noise, drawn from the global generator in its order."""

    def apgd_start(x: Tensor, eps: float | Tensor, random: SampleRandom) -> Tensor:
        radius = torch.as_tensor(eps).expand(len(x))
        if norm == "L1":
            point = x + torch.randn_like(x)
            for _ in range(3):
                torch.randn(x.shape)  # each of its stages draws a start that it does not use
            return point + l1_projection(x, point - x, radius)
        noise = 2 * torch.rand(x.shape) - 1 if norm == "Linf" else torch.randn(x.shape)
        return x + spread(radius, x) * laid_out(unit(noise, norm), x)

    def fab_start(x: Tensor, eps: float | Tensor, random: SampleRandom) -> Tensor:
        raise AssertionError("the first run of FAB begins at x")

    return apgd_start if part.startswith("apgd") else fab_start


def _ours(part: str, model: nn.Module, x: Tensor, y: Tensor, eps: float, options: Any, *, fast: bool) -> Tensor:
    attacked = attack_copy(model, x[:2]) if fast else model

    def success(x_adv: Tensor, rows: Tensor) -> Tensor:
        return _broken(model, x_adv, y[rows])

    given: dict[str, Any] = {
        "eps": eps, "norm": options.norm, "steps": options.steps, "start": _start(part, options.norm),
        "random": SampleRandom(0, "unused", torch.arange(len(x))), "success": success if fast else None,
    }  # fmt: skip
    if part.startswith("fab") and not fast:
        given |= {"projection": "sort", "reuse": False}
    if part.endswith("-t"):
        given |= {"targets": options.targets}
    if part in ("apgd-ce", "apgd-dlr"):
        given |= {"loss": part.removeprefix("apgd-")}
    attack: Callable[..., Tensor] = {"apgd-t": apgd_targeted, "fab": fab, "fab-t": fab_targeted}.get(part, apgd)
    if fast:
        x = x.contiguous(memory_format=attacked.memory_format)
    torch.manual_seed(0)
    return attack(attacked, x, y, **given).contiguous()


if __name__ == "__main__":
    sys.exit(main())
