"""AutoAttack's parts through the package `pyautoattack`, unmodified (Croce & Hein, ICML 2020, arXiv 2003.01690).

Only its driver is not used: it cannot resume and checks the model again before every part. Each part is run exactly as
the driver runs it. Its noise is a function of the seed and of the place in the batch, so that a block's result depends
on the block's samples and on nothing else.

Shape key: B batch, C H W image.
"""

from __future__ import annotations

import contextlib
import io
import logging
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from fairbench.attacks import AttackConfig, parse_attack
from fairbench.attacks.attack_memory import AttackMemory
from fairbench.attacks.autoattack import VERSIONS
from fairbench.attacks.survivors import Success
from fairbench.errors import BadInput
from fairbench.evaluation.cascade import Part
from fairbench.evaluation.gradient_watch import GradientWatch
from fairbench.evaluation.networks import Networks
from fairbench.threat import Norm, Threat

PARTS = VERSIONS["standard"]


def reference_parts(nets: Networks, threat: Threat, *, num_classes: int, seed: int) -> tuple[Part, ...]:
    """Return AutoAttack standard: apgd-ce, apgd-t, fab-t, square.

    Targets are min(9, K - 1) (min(5, K - 1) for apgd-t in L1), since the package's own 9 crash below 10 classes. Square
    runs on the judge: it accepts proposals for tiny differences of logits, which bfloat16 swallows.
    """

    def part(name: str) -> Part:
        model = nets.judge if name == "square" else nets.gradient

        def run(x: Tensor, y: Tensor, *, index: Tensor, success: Success, memory: AttackMemory | None) -> Tensor:
            watch = GradientWatch(model, len(y))
            with _quietly(), torch.no_grad():
                x_adv = _run(name, watch, x, y, norm=threat.norm, eps=threat.eps, num_classes=num_classes, seed=seed)
            if watch.noted():
                watch.refuse(~success(x_adv, torch.arange(len(y), device=y.device)), f"aa/{name}")
            return x_adv

        return Part(name, run)

    return tuple(part(name) for name in PARTS)


def check_reference(config: AttackConfig, num_classes: int) -> None:
    """Refuse what the package cannot do.

    Raises:
        BadInput: fewer than 4 classes, for which its targeted loss is not defined, or not the standard version.
    """
    if num_classes < 4:
        raise BadInput(
            "AutoAttack's reference engine needs at least 4 classes (its targeted loss uses the 4th largest logit), "
            f"but this data set has {num_classes}; use --engine native."
        )
    if dict(config.keywords) != dict(parse_attack("aa").keywords):
        raise BadInput(
            f"AutoAttack's reference engine runs the standard version, but the attack is {config.name[:80]!r}; "
            "write 'aa', or use --engine native."
        )


def _run(
    name: str, model: nn.Module, x: Tensor, y: Tensor, *, norm: Norm, eps: float, num_classes: int, seed: int
) -> Tensor:
    from pyautoattack import AutoAttack

    # A new object each time: fab-t and the L1 schedule leave their settings changed behind.
    package = AutoAttack(model, norm=norm, eps=eps, seed=seed, version="standard", device=x.device)
    package.apgd_targeted.n_target_classes = min(package.apgd_targeted.n_target_classes, num_classes - 1)
    package.fab.n_target_classes = min(package.fab.n_target_classes, num_classes - 1)
    if name == "apgd-ce":
        attack, package.apgd.loss = package.apgd, "ce"
    elif name == "apgd-t":
        attack = package.apgd_targeted
    elif name == "fab-t":
        attack, package.fab.targeted, package.fab.n_restarts = package.fab, True, 1
    else:
        attack = package.square
    attack.seed = seed
    x_adv: Tensor = attack.perturb(x.clone(), y.clone())
    return x_adv.detach()


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Keep the package's prints off stdout, its warnings off stderr, and its seeding off the global generators."""
    logger = logging.getLogger("auto-attack")
    disabled, logger.disabled = logger.disabled, True
    devices = range(torch.cuda.device_count()) if torch.cuda.is_available() else ()
    try:
        with torch.random.fork_rng(devices=devices), contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logger.disabled = disabled
