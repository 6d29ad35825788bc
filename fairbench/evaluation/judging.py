"""What an attack returned is not believed: budget, pixel range and prediction are checked again.

Shape key: B batch, C H W image, K classes.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fairbench.attacks import l2, linf
from fairbench.errors import Refused
from fairbench.evaluation.random_model import RandomJudge, majority
from fairbench.losses import cross_entropy, margin
from fairbench.outcomes import Outcomes
from fairbench.threat import Norm, Threat, with_rounding


def distance(x_adv: Tensor, x: Tensor, norm: Norm) -> Tensor:
    """Return each sample's distance, (B,) float64."""
    delta = (x_adv.double() - x.double()).flatten(1).abs()
    if norm == "Linf":
        return delta.amax(1)
    return delta.sum(1) if norm == "L1" else delta.square().sum(1).sqrt()


def into_ball(x_adv: Tensor, x: Tensor, threat: Threat) -> Tensor:
    """Return `x_adv` in the ball and in [0, 1]; unchanged where it is there already.

    For L1 the example is pulled towards x until it fits, which is a point of the ball but not the nearest one.
    """
    if threat.norm == "Linf":
        return linf.project(x_adv, x, threat.eps)
    if threat.norm == "L2":
        return l2.project(x_adv, x, threat.eps)
    length = distance(x_adv, x, "L1").to(x).clamp(min=1e-30)
    factor = (threat.eps / length).clamp(max=1)[:, None, None, None]
    return torch.where(factor < 1, x + (x_adv - x) * factor, x_adv).clamp(0, 1)


def radius_limit(threat: Threat, slack: float = 0.0) -> float:
    """Return the largest distance that counts as within the radius: float32 may round by 1e-6 + 1e-5 eps."""
    return with_rounding(threat.eps, slack)


def check_example(x_adv: Tensor, x: Tensor, *, attack: str, threat: Threat, slack: float = 0.0) -> None:
    """Prove that an attack stayed within the threat model; float32 may round by 1e-6 + 1e-5 eps.

    `slack` is what is forgiven beyond it, in pixels and as a share of eps, to an example that is then projected.

    Raises:
        Refused: "left-ball": another shape or type, NaN, a pixel outside [0, 1], or outside the ball.
    """
    if x_adv.shape != x.shape or x_adv.dtype != x.dtype:
        raise Refused(
            "left-ball",
            f"attack {attack!r} returned {tuple(x_adv.shape)} {x_adv.dtype} for images of {tuple(x.shape)} {x.dtype}; "
            "an attack must return one image per image, of the same type.",
            overridable=False,
        )
    if len(x) == 0:
        return
    low, high = x_adv.min().item(), x_adv.max().item()
    farthest = distance(x_adv, x, threat.norm).max().item()
    # Written so that NaN fails it.
    limit = radius_limit(threat, slack)
    if not (low >= -slack and high <= 1 + slack and farthest <= limit):
        raise Refused(
            "left-ball",
            f"attack {attack!r} left the threat model: {threat.norm} distance {farthest:.6g} (eps = {threat.eps:.6g}), "
            f"pixel range [{low:.6g}, {high:.6g}]; an attack must stay within eps and [0, 1].",
            overridable=False,
        )


def check_logits(logits: Tensor, *, what: str) -> None:
    """Prove that logits are finite: argmax of NaN is class 0, which would look like one perfectly robust class.

    Raises:
        Refused: "nan-logits".
    """
    if not bool(torch.isfinite(logits).all()):
        bad = int((~torch.isfinite(logits)).any(1).sum())
        raise Refused(
            "nan-logits",
            f"the model's logits on {what} are NaN or infinite for {bad} of {len(logits)} images; a verdict from them "
            "would be a fiction, so check the weights and the normalisation.",
            overridable=False,
        )


def judge(
    network: nn.Module, x_adv: Tensor, x: Tensor, y: Tensor, index: Tensor, *, attack: str, threat: Threat
) -> Outcomes:
    """Return one row per sample: the network's prediction of `x_adv`, loss, margin and distances.

    Raises:
        Refused: "left-ball" or "nan-logits".
    """
    check_example(x_adv, x, attack=attack, threat=threat)
    what = "natural images" if attack == "natural" else f"examples of {attack!r}"
    if isinstance(network, RandomJudge):
        draws = network.draws(x_adv, index)
        check_logits(draws.flatten(0, 1), what=what)
        prediction, loss, lead = majority(draws, y)
    else:
        with torch.no_grad():
            logits = network(x_adv)
        check_logits(logits, what=what)
        prediction, loss, lead = logits.argmax(1), cross_entropy(logits, y), margin(logits, y)
    return Outcomes.of_columns(
        attack,
        index=index.cpu().numpy(),
        label=y.cpu().numpy(),
        prediction=prediction.cpu().numpy(),
        loss=loss.cpu().numpy(),
        margin=lead.cpu().numpy(),
        linf=distance(x_adv, x, "Linf").cpu().numpy(),
        distance=distance(x_adv, x, threat.norm).cpu().numpy(),
    )
