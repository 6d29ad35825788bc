"""FAB, AutoAttack's minimum-norm attack: step to where the linearised network changes its mind, and stay near x.

Paper: Croce & Hein, "Minimally distorted adversarial examples with a fast adaptive boundary attack", ICML 2020, arXiv
1907.02044. Same as the authors' code with `projection="sort"` and without `success`: equal iterates to the last bit
where the network's arithmetic is. Quirks of that code:

* `plus` asks for 5 restarts of FAB, but the authors' driver sets the object's restarts to 1 when it runs `fab-t`, so
  that a second evaluation with the same object runs `fab` once per sample. Here `restarts` is an argument of each call.
* Where the gradient is exactly zero the authors' projection divides 0 by 0 and the sample is lost to the attack; here
  it stays where it is.

Different: weight gradients are not computed (the authors' backward fills them too), the natural images are predicted
once, and with `success` a sample leaves once an example within eps is confirmed, instead of refining it.

The forward that tells whether an iterate is adversarial is used again for its gradient where the iterate is not: a
sample that crossed is pulled back towards x and needs a new forward. Who will cross is foretold from each sample's own
last crossings (right in 9 of 10 cases on the checkpoints measured); only those expected not to cross keep their graph.

Shape key: B batch, b samples that are left, C H W image, D pixels = C H W, K classes.
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from fairbench.attacks.attack_memory import AttackMemory, laid_out
from fairbench.attacks.fab_search import FabSearch, FabSettings
from fairbench.attacks.linf import Start
from fairbench.attacks.norm_ball import length, radii, spread
from fairbench.attacks.survivors import Success, Survivors, check_every
from fairbench.attacks.targets import TARGETS, num_targets, rivals
from fairbench.sample_random import SampleRandom
from fairbench.threat import Norm


def half_sphere_start(norm: Norm) -> Start:
    """Return FAB's restart: noise scaled to norm eps / 2, clamped to [0, 1]."""

    def start(x: Tensor, eps: float | Tensor, random: SampleRandom) -> Tensor:
        shape = tuple(x.shape[1:])
        noise = random.uniform(shape, -1.0, 1.0) if norm == "Linf" else random.normal(shape)
        noise = laid_out(noise.to(x), x)
        return (x + spread(radii(eps, x), x) * noise / spread(length(noise, norm), x) * 0.5).clamp(0, 1)

    return start


def fab(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    eps: float | Tensor,
    random: SampleRandom,
    norm: Norm = "Linf",
    steps: int = 100,
    restarts: int = 1,
    alpha_max: float = 0.1,
    eta: float = 1.05,
    beta: float = 0.9,
    projection: Literal["newton", "sort"] = "newton",
    reuse: bool | None = None,
    start: Start | None = None,
    success: Success | None = None,
    drop_every: int | None = None,
    memory: AttackMemory | None = None,
) -> Tensor:
    """Return an adversarial example within eps per sample, x itself where none was found, (B, C, H, W).

    Each step linearises the network towards every class, K backwards, and moves towards the nearest boundary.

    Args:
        model: pixels in [0, 1] in, logits out, in eval mode, frozen.
        x: (B, C, H, W) pixels in [0, 1].
        y: (B,) labels.
        eps: radius, one number or (B,).
        random: the samples' streams, for the restarts.
        norm: "Linf", "L2" or "L1".
        steps: of each run.
        restarts: the first begins at x, the others at `start`, each on the samples that are left.
        alpha_max: how much of the way towards x is taken at most in a step.
        eta: how far beyond the linearised boundary a step goes.
        beta: how far back from x an adversarial iterate is pulled.
        projection: "newton", or "sort" as in the original; both are exact.
        reuse: whether graphs are kept for the samples that are foretold not to cross; None: on the CPU, since elsewhere
            asking who did would wait for the device.
        start: (x, eps, random) -> first iterate of a restart; None: `half_sphere_start(norm)`.
        success: (x_adv, rows) -> which are adversarial. Samples whose examples it confirms leave at once. None: the
            attacked network decides, the nearest example is kept, and samples leave only between runs.
        drop_every: after how many steps samples may leave; None: 1 on the CPU, else 10.
        memory: takes the state now and then and gives it back after an interruption.

    Raises:
        Refused: "nan-logits".
    """
    book = Survivors(x, y, success)
    settings = FabSettings(
        model, norm, steps, alpha_max, eta, beta, projection, reuse, check_every(x.device, drop_every)
    )
    search = FabSearch(settings, book, radii(eps, x), random, start or half_sphere_start(norm), restarts, memory)
    return search.run(lambda logits: y[:, None].expand(-1, restarts), targeted=False)


def fab_targeted(
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
    alpha_max: float = 0.1,
    eta: float = 1.05,
    beta: float = 0.9,
    projection: Literal["newton", "sort"] = "newton",
    reuse: bool | None = None,
    start: Start | None = None,
    success: Success | None = None,
    drop_every: int | None = None,
    memory: AttackMemory | None = None,
) -> Tensor:
    """Return what `fab` returns, from the boundaries to the min(targets, K - 1) strongest rivals in turn.

    One backward per step. Arguments as in `fab`; `restarts` are per target.
    """
    book = Survivors(x, y, success)
    settings = FabSettings(
        model, norm, steps, alpha_max, eta, beta, projection, reuse, check_every(x.device, drop_every)
    )
    search = FabSearch(settings, book, radii(eps, x), random, start or half_sphere_start(norm), restarts, memory)

    def aims(logits: Tensor) -> Tensor:
        return rivals(logits, y, num_targets(logits.shape[1], targets)).repeat_interleave(restarts, dim=1)

    return search.run(aims, targeted=True)
