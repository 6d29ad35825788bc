"""What an evaluation refuses to put a number on, each with the name that `--accept` takes: one list, one module.

Shape key: B batch, K classes, C H W image.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fairbench.attacks.linf import input_gradient
from fairbench.data.dataset import Dataset, to_unit
from fairbench.errors import BadInput, Refused, unknown
from fairbench.evaluation.blocks import check_pixels
from fairbench.evaluation.judging import check_logits
from fairbench.losses import cross_entropy


@dataclass(frozen=True)
class Check:
    """One reason to refuse: what it means, and whether a person may know better."""

    meaning: str
    overridable: bool


CHECKS: dict[str, Check] = {
    "labels": Check("labels outside 0 .. K-1", False),
    "pixel-range": Check("pixels outside [0, 1]", False),
    "train-mode": Check("a module in train mode, or one that switches itself", False),
    "class-count": Check("the number of logits is not the number of classes", False),
    "nan-logits": Check("logits that are NaN or infinite", False),
    "probabilities": Check("outputs that look like probabilities instead of logits", True),
    "non-deterministic": Check("two forwards of the same images differ", False),
    "batch-dependent": Check("an image's logits depend on the other images of its batch", False),
    "no-gradient": Check("no gradient reaches the pixels", False),
    "left-ball": Check("an attack left the radius or the pixel range", False),
    "normalize": Check("another known normalisation gives a clearly higher natural accuracy", True),
    "low-accuracy": Check("a natural accuracy near chance", True),
}

IMAGES_AT_ONCE = 16


class Trust:
    """Raises each check's refusal, or keeps it as a flag where the person has accepted it.

    Attributes:
        accept: names that the person gave.
        allow_random: whether a model may have noise of its own; one that has none is refused then.
        flags: {name, severity, class, evidence, advice} of what was accepted, for run.json.

    Raises:
        BadInput: a name in `accept` that is no check, or one that cannot be overridden.
    """

    def __init__(self, accept: Collection[str] = (), *, allow_random: bool = False) -> None:
        for name in accept:
            if name not in CHECKS:
                raise unknown("check", name, [check for check in CHECKS if CHECKS[check].overridable])
            if not CHECKS[name].overridable:
                raise BadInput(
                    f"check {name!r} ({CHECKS[name].meaning}) cannot be accepted: the number would mean nothing; "
                    f"those that can: {', '.join(check for check in CHECKS if CHECKS[check].overridable)}."
                )
        self.accept, self.allow_random = tuple(sorted(set(accept))), allow_random
        self.flags: list[dict[str, Any]] = []

    def refuse(self, check: str, evidence: str, advice: str) -> None:
        """Refuse with "evidence; advice", or keep both as a flag where `check` was accepted.

        Raises:
            Refused: it was not accepted.
        """
        if check not in self.accept:
            raise Refused(check, f"{evidence}; {advice}.", overridable=CHECKS[check].overridable)
        if not any(flag["name"] == check for flag in self.flags):
            self.flags.append(
                {"name": check, "severity": "accepted", "class": None, "evidence": evidence, "advice": advice}
            )


def first_images(dataset: Dataset, count: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return the pixels and labels of the `count` samples with the lowest indices, whatever the data set's order."""
    positions = np.argsort(dataset.index, kind="stable")[:count]
    return to_unit(dataset.pixels(positions), device), torch.from_numpy(dataset.y[positions]).to(device)


def preflight(model: nn.Module, dataset: Dataset, trust: Trust, device: torch.device) -> None:
    """Run every check that needs a few images only; the global generators are left as they were.

    Raises:
        Refused: by the check's name.
        BadInput: the model cannot take the images at all.
    """
    check_labels(dataset, trust)
    check_mode(model, trust)
    x, y = first_images(dataset, IMAGES_AT_ONCE, device)
    check_pixels(x, dataset.name)
    devices = range(torch.cuda.device_count()) if torch.cuda.is_available() else ()
    with torch.random.fork_rng(devices=devices):
        with torch.no_grad():
            logits = _first_forward(model, x, dataset, trust)
            check_logits(logits, what="natural images")
            check_mode(model, trust)
            _check_probabilities(logits, trust)
            _check_deterministic(model, x, logits, trust)
            _check_batch(model, x, logits, trust)
        _check_gradient(model, x, y, trust)


def check_labels(dataset: Dataset, trust: Trust) -> None:
    """Prove that labels are classes and identities unique."""
    low, high = int(dataset.y.min()), int(dataset.y.max())
    if low < 0 or high >= dataset.num_classes:
        trust.refuse(
            "labels",
            f"the labels of {dataset.name} range from {low} to {high}, but there are {dataset.num_classes} classes",
            f"labels must lie in 0 .. {dataset.num_classes - 1}",
        )
    if len(np.unique(dataset.index)) != len(dataset):
        trust.refuse("labels", f"samples of {dataset.name} share an index", "each sample needs an index of its own")


def check_mode(model: nn.Module, trust: Trust) -> None:
    """Prove that every module is in eval mode."""
    names = [name or type(module).__name__ for name, module in model.named_modules() if module.training]
    if names:
        trust.refuse(
            "train-mode",
            f"the model is in train mode ({len(names)} module(s), the first is {names[0]!r})",
            "call model.eval(), and take out what switches the mode in forward, since batch statistics and dropout "
            "would make each verdict depend on other images",
        )


def _first_forward(model: nn.Module, x: Tensor, dataset: Dataset, trust: Trust) -> Tensor:
    try:
        logits = model(x)
    except (torch.OutOfMemoryError, MemoryError):
        raise
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0][:160]
        raise BadInput(
            f"the model cannot take the images of {dataset.name}, {tuple(x.shape[1:])} pixels in [0, 1]: {reason}; "
            "choose the data set or the architecture that it was trained on."
        ) from error
    if not isinstance(logits, Tensor) or logits.ndim != 2 or logits.shape != (len(x), dataset.num_classes):
        shape = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        trust.refuse(
            "class-count",
            f"the model's output for {len(x)} images is {shape}, but {dataset.name} has {dataset.num_classes} classes",
            f"it must be ({len(x)}, {dataset.num_classes}) logits: choose the data set that the model was trained on",
        )
    assert isinstance(logits, Tensor)
    if not logits.is_floating_point():
        trust.refuse("class-count", f"the model's output is {logits.dtype}", "it must be floating-point logits")
    return logits


def _check_probabilities(logits: Tensor, trust: Trust) -> None:
    """Refuse a softmax, one times a constant, and a sigmoid of each class."""
    if bool((logits == logits[0]).all()):
        return  # Nothing is predicted at all; natural accuracy tells that better.
    totals = logits.sum(1)
    same_sum = bool(((totals - totals[0]).abs() <= 1e-4 * totals[0].abs()).all())
    if bool((logits >= -1e-5).all()) and bool(totals[0] > 0) and same_sum:
        what = f"are not negative and sum to {float(totals[0]):.4g} for each"
    elif bool(((logits >= 0) & (logits <= 1)).all()):
        what = "all lie in [0, 1]"
    else:
        return
    trust.refuse(
        "probabilities",
        f"the model's outputs for {len(logits)} images {what}: they look like probabilities",
        "return logits (remove the softmax or sigmoid), since its saturation hides the gradient from attacks",
    )


def _check_deterministic(model: nn.Module, x: Tensor, logits: Tensor, trust: Trust) -> None:
    change = max(float((model(x) - logits).abs().max()) for _ in range(2))
    equal = change <= 1e-5 * float(logits.abs().max()) + 1e-7
    evidence = f"two forwards of the same images differ by {change:.3g} in their logits"
    if not trust.allow_random and not equal:
        trust.refuse(
            "non-deterministic", evidence, "switch the model's randomness off, or evaluate it as such: --allow-random"
        )
    if trust.allow_random and equal:
        raise BadInput("--allow-random was given, but forwards of the same images agree; leave it out.")
    if trust.allow_random:
        advice = "robust means that at least half of 20 forwards are right; compare it with random models only"
        trust.flags.append(
            {"name": "random-model", "severity": "accepted", "class": None, "evidence": evidence, "advice": advice}
        )


def _check_batch(model: nn.Module, x: Tensor, logits: Tensor, trust: Trust) -> None:
    if trust.allow_random:
        return
    change = float((model(x[:1]) - logits[:1]).abs().max())
    if not change <= 1e-2 * float(logits.abs().max()) + 1e-6:
        trust.refuse(
            "batch-dependent",
            f"an image's logits change by {change:.3g} when it is alone in its batch",
            "use running statistics instead of the batch's (BatchNorm with track_running_stats=True)",
        )


def _check_gradient(model: nn.Module, x: Tensor, y: Tensor, trust: Trust) -> None:
    try:
        input_gradient(model, x, lambda logits, x_adv: cross_entropy(logits, y))
    except RuntimeError as error:
        if "grad" not in str(error) and "graph" not in str(error):
            raise
        trust.refuse(
            "no-gradient",
            f"no gradient reaches the pixels ({str(error).splitlines()[0][:120]})",
            "take detach, no_grad, inference_mode and non-differentiable steps out of the model's forward",
        )
