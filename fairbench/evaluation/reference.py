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

from fairbench.errors import BadInput
from fairbench.evaluation.cascade import Part
from fairbench.threat import Norm

PARTS = ("apgd-ce", "apgd-t", "fab-t", "square")


def reference_parts(norm: Norm, eps: float, *, num_classes: int, seed: int) -> tuple[Part, ...]:
    """Return AutoAttack standard: apgd-ce, apgd-t, fab-t, square.

    Targets are min(9, K - 1) (min(5, K - 1) for apgd-t in L1), since the package's own 9 crash below 10 classes.

    Raises:
        BadInput: fewer than 4 classes.
    """
    check_classes(num_classes)

    def part(name: str) -> Part:
        def run(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
            with _quietly(), torch.no_grad():
                return _run(name, model, x, y, norm=norm, eps=eps, num_classes=num_classes, seed=seed)

        return Part(name, run, uses_gradients=name != "square")

    return tuple(part(name) for name in PARTS)


def check_classes(num_classes: int) -> None:
    """Refuse too few classes.

    Raises:
        BadInput: fewer than 4, for which the package's targeted loss is not defined.
    """
    if num_classes < 4:
        raise BadInput(
            "AutoAttack's reference engine needs at least 4 classes (its targeted loss uses the 4th largest logit), "
            f"but this data set has {num_classes}; leave 'aa' out: --attacks fgsm,pgd20,cw30."
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
