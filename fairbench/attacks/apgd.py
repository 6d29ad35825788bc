"""APGD, AutoAttack's gradient attack: step sizes adapt to the loss, the best point is returned to.

Paper: Croce & Hein, "Reliable evaluation of adversarial robustness with an ensemble of diverse parameter-free attacks",
ICML 2020, arXiv 2003.01690; L1: "Mind the box", ICML 2021, arXiv 2103.01208.
Same as the authors' code: with its starting noise and without `success`, equal iterates to the last bit where the
network's arithmetic is. Quirks of that code, kept because every published number has them:

* The first check for oscillation compares the first iterate's loss with 0, a row of the loss table that is not yet
  written, and not with the loss at the start (`first_loss="zero"`; "start" is the paper's rule). For the cross-entropy
  this counts as a rise, which can keep the first step size one window longer. It does not make the attack weaker in
  any systematic way.
* The example kept is the last misclassified iterate, not the first or the one of highest loss.
* With `draws` > 1 the loss and the prediction come from the last of the draws, only the gradient is averaged.
* In L1 the checkpoints' spacing is that of each stage, not of the whole schedule.

Different: nothing after the last loss is computed (the authors compute one more gradient), the natural images are
predicted once and not once per target, and with `success` a sample leaves as soon as an example is confirmed.

Shape key: B batch, b samples that are left, C H W image, K classes.
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from fairbench.attacks.apgd_search import UNTARGETED, ApgdSearch, ApgdSettings
from fairbench.attacks.attack_memory import AttackMemory, laid_out
from fairbench.attacks.dlr import dlr_targeted
from fairbench.attacks.linf import Start
from fairbench.attacks.norm_ball import l1_projection, radii, spread, unit
from fairbench.attacks.survivors import Success, Survivors, check_every
from fairbench.attacks.targets import TARGETS, num_targets, rivals
from fairbench.sample_random import SampleRandom
from fairbench.threat import Norm


def sphere_start(norm: Norm) -> Start:
    """Return AutoAttack's start: noise scaled to norm eps, clamped to [0, 1].

    Linf: uniform noise whose largest entry reaches eps; L2: a uniform direction. L1: normal noise with standard
    deviation 1, projected.
    """

    def start(x: Tensor, eps: float | Tensor, random: SampleRandom) -> Tensor:
        shape, radius = tuple(x.shape[1:]), radii(eps, x)
        if norm == "L1":
            point = x + laid_out(random.normal(shape).to(x), x)
            return (point + l1_projection(x, point - x, radius)).clamp(0, 1)
        noise = random.uniform(shape, -1.0, 1.0) if norm == "Linf" else random.normal(shape)
        return (x + spread(radius, x) * unit(laid_out(noise.to(x), x), norm)).clamp(0, 1)

    return start


def apgd(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    eps: float | Tensor,
    random: SampleRandom,
    norm: Norm = "Linf",
    loss: Literal["ce", "dlr"] = "ce",
    steps: int = 100,
    restarts: int = 1,
    rho: float = 0.75,
    draws: int = 1,
    staged: bool = True,
    first_loss: Literal["zero", "start"] = "zero",
    start: Start | None = None,
    success: Success | None = None,
    drop_every: int | None = None,
    doubt: float = 0.0,
    memory: AttackMemory | None = None,
) -> Tensor:
    """Return an adversarial example per sample, x itself where none was found, (B, C, H, W).

    Costs per sample, restart and step one forward and one backward, and one forward for the last step; nothing waits
    for the device in between, except every `drop_every` steps.

    Args:
        model: pixels in [0, 1] in, logits out, in eval mode, frozen.
        x: (B, C, H, W) pixels in [0, 1].
        y: (B,) labels.
        eps: radius, one number or (B,).
        random: the samples' streams, for the starts.
        norm: "Linf", "L2" or "L1".
        loss: "ce", the cross-entropy, or "dlr".
        steps: of each restart.
        restarts: each on the samples that are left.
        rho: a step size is halved where the loss rose in at most this share of steps.
        draws: forwards and backwards per step whose gradients are averaged, for randomised models.
        staged: L1 only: three stages of 3 eps, 2 eps and eps, as AutoAttack standard has them.
        first_loss: what the first iterate's loss is compared with, see above.
        start: (x, eps, random) -> first iterate; None: `sphere_start(norm)`.
        success: (x_adv, rows) -> which are adversarial. Samples whose examples it confirms leave at once; others go
            on. None: the attacked network decides, and samples leave only between restarts, as in the original.
        drop_every: after how many steps samples may leave; None: 1 on the CPU, else 10.
        doubt: `success` is asked also where the label leads by less than this share of the largest logit, since an
            attacked network of few bits may be wrong about it.
        memory: takes the state now and then and gives it back after an interruption.

    Raises:
        Refused: "nan-logits".
    """
    settings = ApgdSettings(model, norm, UNTARGETED[loss], steps, rho, draws, staged, first_loss, doubt)
    search = ApgdSearch(
        settings, Survivors(x, y, success), radii(eps, x), random, start or sphere_start(norm),
        check_every(x.device, drop_every), memory,
    )  # fmt: skip
    return search.run(lambda logits: y[:, None].expand(-1, restarts), lambda number: f"restart {number}")


def apgd_targeted(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    eps: float | Tensor,
    random: SampleRandom,
    norm: Norm = "Linf",
    targets: int = TARGETS,
    steps: int = 100,
    restarts: int = 1,
    rho: float = 0.75,
    draws: int = 1,
    staged: bool = True,
    first_loss: Literal["zero", "start"] = "zero",
    start: Start | None = None,
    success: Success | None = None,
    drop_every: int | None = None,
    doubt: float = 0.0,
    memory: AttackMemory | None = None,
) -> Tensor:
    """Return what `apgd` returns, from the targeted DLR loss towards the min(targets, K - 1) strongest rivals in turn.

    Arguments as in `apgd`; `restarts` are per target.
    """
    settings = ApgdSettings(model, norm, dlr_targeted, steps, rho, draws, staged, first_loss, doubt)
    search = ApgdSearch(
        settings, Survivors(x, y, success), radii(eps, x), random, start or sphere_start(norm),
        check_every(x.device, drop_every), memory,
    )  # fmt: skip

    def aims(logits: Tensor) -> Tensor:
        count = num_targets(logits.shape[1], targets)
        return rivals(logits, y, count).repeat_interleave(restarts, dim=1)

    return search.run(aims, lambda number: f"target {number // restarts} restart {number % restarts}")
