"""One part of AutoAttack on some samples, by our engine or by pyautoattack, timed and counted; for autoattack.py.

Ours attacks a copy of the network (`fairbench.models.attack_copy`) and lets a sample leave once the original network
errs in float32; `plain` attacks the network itself with every fast path off. It is the attacks alone: `fairbench eval`
also projects each claimed example and asks for a margin beyond rounding.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from fairbench.attacks.apgd import apgd, apgd_targeted
from fairbench.attacks.fab import fab, fab_targeted
from fairbench.attacks.square import square
from fairbench.evaluation.native import BF16_DOUBT, part_precision
from fairbench.models.attack_copy import attack_copy
from fairbench.models.following import Follower
from fairbench.sample_random import SampleRandom

CLOCKS: dict[str, Callable[[], float]] = {"wall": time.perf_counter, "cpu": time.process_time}


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
    """One run of one engine's part; forwards and backwards of single samples."""

    seconds: float
    forwards: int
    backwards: int
    limit: float
    broken: Tensor


def _blocks(count: int, size: int | None) -> list[slice]:
    size = size or count
    return [slice(start, min(start + size, count)) for start in range(0, count, size)]


def ours(part: str, model: nn.Module, x: Tensor, y: Tensor, eps: float, options: Any, *, first: int = 0) -> Result:
    """Run ours; `first` is the number of the first of these samples, since a sample's noise is keyed by its number."""
    clock = CLOCKS[options.clock]
    judge = Counted(model)
    precision = part_precision(part, options.precision)
    attacked = Counted(model if options.plain else attack_copy(model, x[:2], precision=precision))
    layout = torch.contiguous_format if options.plain else attacked.network.memory_format
    shared: dict[str, Any] = {"eps": eps, "norm": options.norm}
    if part.startswith("apgd"):
        shared |= {"steps": options.steps, "doubt": BF16_DOUBT if precision == "bf16" else 0.0}
    if part.startswith("fab"):
        shared |= {"steps": options.steps} | ({"projection": "sort", "reuse": False} if options.plain else {})
    if part.endswith("-t"):
        shared |= {"targets": options.targets}
    if part in ("apgd-ce", "apgd-dlr"):
        shared |= {"loss": part.removeprefix("apgd-")}
    if part == "square":
        shared |= {"queries": options.queries, "rescale_schedule": options.rescale}
    attack = {"apgd-t": apgd_targeted, "fab": fab, "fab-t": fab_targeted, "square": square}.get(part, apgd)
    broken = []
    begun = clock()
    for block in _blocks(len(x), options.batch):
        x_block, y_block = x[block].contiguous(memory_format=layout), y[block]

        def success(x_adv: Tensor, rows: Tensor, y_block: Tensor = y_block) -> Tensor:
            with torch.no_grad():
                return judge(x_adv).argmax(1) != y_block[rows]

        random = SampleRandom(0, part, first + torch.arange(block.start, block.stop))
        x_adv = attack(attacked, x_block, y_block, random=random, success=None if options.plain else success, **shared)
        with torch.no_grad():
            broken.append(model(x_adv).argmax(1) != y_block)
    seconds = clock() - begun
    # The allocator's state and the caches are those that the attack left.
    limit = sum(_replay(counted, x, clock) for counted in (attacked, judge))
    return Result(
        seconds,
        attacked.rows("F", "G", "L") + judge.rows("F", "G"),
        attacked.rows("B"),
        limit,
        torch.cat(broken),
    )


def reference(part: str, model: nn.Module, x: Tensor, y: Tensor, eps: float, options: Any, *, seed: int) -> Result:
    clock = CLOCKS[options.clock]
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
    return Result(seconds, counted.rows("F", "G"), counted.rows("B"), float("nan"), torch.cat(broken))


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
    package.square.rescale_schedule = getattr(options, "rescale", False)
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
