"""AutoAttack's parts, ours and pyautoattack's in turn: seconds, forwards, backwards, and whether the verdicts agree.

    FAIRBENCH_DATA=... python benchmarks/autoattack.py --checkpoint cifar10_resnet2b --samples 1000 --threads 2
    FAIRBENCH_DATA=... python benchmarks/autoattack.py --checkpoint mnist_pgd --parts fab-t --steps 20 --precision bf16

Each part runs alone on all samples, in one batch (`--batch` cuts both engines' work into blocks). Ours attacks a copy
of the network (`fairbench.models.attack_copy`) and lets a sample leave once the original network errs in float32;
`--plain` attacks the network itself with every fast path off. Columns:

    seconds   wall time (`--clock cpu`: processor time of all threads, for a machine that is shared)
    limit     the same forwards and backwards on the same networks in the same batch sizes, without an attack
    share     limit / seconds; above 1 where Square follows its squares instead of computing whole forwards
    F, B      forwards and backwards per sample, those that confirm an example included
    broken    samples broken; flips: verdicts that differ from the original's, beside those between two of its seeds
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fairbench.attacks.apgd import apgd, apgd_targeted
from fairbench.attacks.fab import fab, fab_targeted
from fairbench.attacks.pgd import pgd
from fairbench.attacks.square import square
from fairbench.data import load_dataset
from fairbench.data.dataset import to_unit
from fairbench.models.attack_copy import attack_copy
from fairbench.models.following import Follower
from fairbench.models.load import load_model
from fairbench.sample_random import SampleRandom
from fairbench.threat import parse_number

PARTS = ("apgd-ce", "apgd-dlr", "apgd-t", "fab", "fab-t", "square")
STANDARD = ("apgd-ce", "apgd-t", "fab-t", "square")
EPS = {"mnist": {"Linf": 0.3, "L2": 1.5, "L1": 10.0}, "cifar10": {"Linf": 2 / 255, "L2": 0.25, "L1": 6.0}}


class Counted(nn.Module):
    """A network that counts calls by (kind, batch size): "F" without graph, "G" with one, "B" backwards."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.calls: Counter[tuple[str, int]] = Counter()

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.network(x)
        self.calls["G" if out.requires_grad else "F", len(x)] += 1
        if out.requires_grad:
            size = len(x)

            def back(_: Tensor) -> None:
                self.calls["B", size] += 1

            out.register_hook(back)
        return out

    def follow(self, x: Tensor, side: int) -> _CountedFollower | None:
        """Count what a copy computes by following squares as "L": one row each, though only a part is computed."""
        follow = getattr(self.network, "follow", None)
        follower = follow(x, side) if follow is not None else None
        return None if follower is None else _CountedFollower(follower, self.calls)

    def rows(self, *kinds: str) -> int:
        return sum(size * count for (kind, size), count in self.calls.items() if kind in kinds)


class _CountedFollower:
    def __init__(self, follower: Follower, calls: Counter[tuple[str, int]]) -> None:
        self.keep, self.settle = follower.keep, follower.settle
        self._follower, self._calls = follower, calls

    def logits(self, x: Tensor, corner: Tensor) -> Tensor:
        self._calls["L", len(x)] += 1
        return self._follower.logits(x, corner)


@dataclass
class Result:
    """One run of one engine's part."""

    seconds: float
    forwards: float
    backwards: float
    limit: float
    broken: Tensor


def main(argv: Sequence[str] | None = None) -> int:
    options = _arguments().parse_args(argv)
    torch.set_num_threads(options.threads)
    warnings.simplefilter("ignore")
    clock = time.perf_counter if options.clock == "wall" else time.process_time
    model, dataset = network(options.checkpoint, options.dataset)
    known = EPS["mnist" if "mnist" in dataset else "cifar10"]
    eps = known[options.norm] if options.eps is None else parse_number(options.eps, what="--eps")
    x, y = robust_images(model, dataset, options.samples, eps) if options.robust else images(dataset, options.samples)
    with torch.no_grad():
        natural = (model(x).argmax(1) == y).sum().item()
    print(
        f"{options.checkpoint}, {options.norm} {eps:.6g}, {len(x)} samples ({natural} right), "
        f"{options.threads} thread(s), {options.precision}{', plain' if options.plain else ''}, {options.clock} clock, "
        f"{options.steps} steps, {options.queries} queries, {options.targets} targets, torch {torch.__version__}"
    )
    print(
        f"{'part':9}{'ours s':>9}{'orig s':>9}{'ratio':>7}{'limit s':>9}{'share':>7}{'F ours':>9}{'orig':>8}"
        f"{'B ours':>8}{'orig':>8}{'broken':>8}{'orig':>6}{'flips':>7}{'orig seeds':>12}"
    )
    total = [0.0, 0.0, 0.0]
    for part in options.parts:
        ours = _ours(part, model, x, y, eps, options, clock)
        first = _original(part, model, x, y, eps, options, clock, seed=0)
        second = _original(part, model, x, y, eps, options, clock, seed=1) if not options.one_seed else None
        flips = int((ours.broken != first.broken).sum())
        between = "" if second is None else int((first.broken != second.broken).sum())
        print(
            f"{part:9}{ours.seconds:9.2f}{first.seconds:9.2f}{first.seconds / ours.seconds:7.2f}{ours.limit:9.2f}"
            f"{ours.limit / ours.seconds:7.2f}{ours.forwards:9.1f}{first.forwards:8.1f}{ours.backwards:8.1f}"
            f"{first.backwards:8.1f}{int(ours.broken.sum()):8d}{int(first.broken.sum()):6d}{flips:7d}{between:>12}",
            flush=True,
        )
        total = [a + b for a, b in zip(total, (ours.seconds, first.seconds, ours.limit), strict=True)]
    print(f"{'sum':9}{total[0]:9.2f}{total[1]:9.2f}{total[1] / total[0]:7.2f}{total[2]:9.2f}{total[2] / total[0]:7.2f}")
    return 0


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--checkpoint", default="mnist_pgd", help="a name in FAIRBENCH_DATA/models, or a checkpoint with its sidecar")
    add("--dataset", help="for a checkpoint of your own: a name, npz:FILE or folder:PATH")
    add("--samples", type=int, default=100)
    add("--robust", action="store_true", help="the first samples that withstand PGD-20 (Linf), instead of the first")
    add("--threads", type=int, default=1)
    add("--norm", default="Linf", choices=("Linf", "L2", "L1"))
    add("--eps", help="in pixel units; the checkpoint's own in Linf, a usual one else")
    add("--parts", default=STANDARD, type=lambda text: tuple(text.split(",")), help=f"of {', '.join(PARTS)}")
    add("--steps", type=int, default=100, help="of APGD and FAB in both engines")
    add("--queries", type=int, default=5000, help="of Square in both engines")
    add("--targets", type=int, default=9)
    add("--precision", default="float32", choices=("float32", "bf16"))
    add("--batch", type=int, help="samples per block; all in one where not given")
    add("--clock", default="wall", choices=("wall", "cpu"))
    add("--plain", action="store_true", help="ours with every fast path off")
    add("--one-seed", action="store_true", help="skip the original's second seed")
    return parser


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


def images(name: str, count: int) -> tuple[Tensor, Tensor]:
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


def _blocks(count: int, size: int | None) -> list[slice]:
    size = size or count
    return [slice(start, min(start + size, count)) for start in range(0, count, size)]


def _ours(
    part: str, model: nn.Module, x: Tensor, y: Tensor, eps: float, options: Any, clock: Callable[[], float]
) -> Result:
    judge = Counted(model)
    precision = "float32" if part == "square" else options.precision
    attacked = Counted(model if options.plain else attack_copy(model, x[:2], precision=precision))
    layout = torch.contiguous_format if options.plain else attacked.network.memory_format
    shared: dict[str, Any] = {"eps": eps, "norm": options.norm}
    if part.startswith("apgd"):
        shared |= {"steps": options.steps}
    if part.startswith("fab"):
        shared |= {"steps": options.steps} | ({"projection": "sort", "reuse": False} if options.plain else {})
    if part.endswith("-t"):
        shared |= {"targets": options.targets}
    if part in ("apgd-ce", "apgd-dlr"):
        shared |= {"loss": part.removeprefix("apgd-")}
    if part == "square":
        shared |= {"queries": options.queries}
    attack = {"apgd-t": apgd_targeted, "fab": fab, "fab-t": fab_targeted, "square": square}.get(part, apgd)
    broken = []
    begun = clock()
    for block in _blocks(len(x), options.batch):
        x_block, y_block = x[block].contiguous(memory_format=layout), y[block]

        def success(x_adv: Tensor, rows: Tensor, y_block: Tensor = y_block) -> Tensor:
            with torch.no_grad():
                return judge(x_adv).argmax(1) != y_block[rows]

        random = SampleRandom(0, part, torch.arange(block.start, block.stop))
        x_adv = attack(attacked, x_block, y_block, random=random, success=None if options.plain else success, **shared)
        with torch.no_grad():
            broken.append(model(x_adv).argmax(1) != y_block)
    seconds = clock() - begun
    limit = sum(_replay(counted, x, clock) for counted in (attacked, judge))
    return Result(
        seconds,
        (attacked.rows("F", "G", "L") + judge.rows("F", "G")) / len(x),
        attacked.rows("B") / len(x),
        limit,
        torch.cat(broken),
    )


def _original(
    part: str,
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    eps: float,
    options: Any,
    clock: Callable[[], float],
    *,
    seed: int,
) -> Result:
    counted = Counted(model)
    # The package's FAB fills weight gradients too, and nobody freezes the weights for it: that is how it is used.
    for parameter in model.parameters():
        parameter.requires_grad_(True)
    broken = []
    begun = clock()
    for block in _blocks(len(x), options.batch):
        x_adv = original(part, counted, x[block], y[block], eps, options, seed=seed)
        with torch.no_grad():
            broken.append(model(x_adv).argmax(1) != y[block])
    seconds = clock() - begun
    for parameter in model.parameters():
        parameter.grad = None
        parameter.requires_grad_(False)
    return Result(seconds, counted.rows("F", "G") / len(x), counted.rows("B") / len(x), float("nan"), torch.cat(broken))


def original(part: str, model: nn.Module, x: Tensor, y: Tensor, eps: float, options: Any, *, seed: int = 0) -> Tensor:
    """Return the examples of one part of pyautoattack, run alone, with the steps, queries and targets of `options`."""
    from pyautoattack import AutoAttack

    package = AutoAttack(model, norm=options.norm, eps=eps, seed=seed, version="standard", device="cpu")
    for attack in (package.apgd, package.apgd_targeted):
        attack.n_iter = attack.n_iter_orig = options.steps
        attack.n_iter_2 = max(int(0.22 * options.steps), 1)
        attack.n_iter_min = max(int(0.06 * options.steps), 1)
        attack.size_decr = max(int(0.03 * options.steps), 1)
        attack.n_restarts = 1
    package.fab.n_iter, package.square.n_queries = options.steps, options.queries
    package.apgd_targeted.n_target_classes = package.fab.n_target_classes = options.targets
    chosen = {
        "apgd-t": package.apgd_targeted, "fab": package.fab, "fab-t": package.fab, "square": package.square,
    }.get(part, package.apgd)  # fmt: skip
    chosen.seed = seed
    if part in ("apgd-ce", "apgd-dlr"):
        chosen.loss = part.removeprefix("apgd-")
    if chosen is package.fab:
        chosen.targeted = part == "fab-t"
    with torch.no_grad():
        x_adv: Tensor = chosen.perturb(x.clone(), y.clone())
    return x_adv.detach()


def _replay(counted: Counted, x: Tensor, clock: Callable[[], float]) -> float:
    """Return the seconds of the same calls without an attack, each batch size timed once or twice."""
    network, seconds = counted.network, 0.0
    layout = getattr(network, "memory_format", torch.contiguous_format)
    for size in sorted({size for _, size in counted.calls}, reverse=True):
        images = x[:size].contiguous(memory_format=layout)
        plain, graphs, backwards = (counted.calls[kind, size] for kind in ("F", "G", "B"))
        plain += counted.calls["L", size]  # the limit computes whole forwards
        if plain:
            with torch.no_grad():
                seconds += plain * _fastest(lambda images=images: network(images), clock, 3 if plain > 20 else 1)
        if graphs:
            leaf = images.clone().requires_grad_()
            seconds += graphs * _fastest(lambda leaf=leaf: network(leaf), clock, 3 if graphs > 20 else 1)
        if backwards:
            total = network(leaf).sum()
            seconds += backwards * _fastest(
                lambda total=total, leaf=leaf: torch.autograd.grad(total, leaf, retain_graph=True),
                clock,
                3 if backwards > 20 else 1,
            )
    return seconds


def _fastest(call: Callable[[], Any], clock: Callable[[], float], times: int) -> float:
    """Return the mean seconds of a few calls."""
    begun = clock()
    for _ in range(times):
        call()
    return (clock() - begun) / times


if __name__ == "__main__":
    sys.exit(main())
