"""What an evaluation refuses to put a number on, each with the name that `--accept` takes: one list, one module.

Shape key: B batch, K classes, C H W image.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from scipy.stats import binom
from torch import Tensor, nn

from fairbench.attacks.linf import input_gradient
from fairbench.data.dataset import Dataset, to_unit
from fairbench.errors import BadInput, Refused, unknown
from fairbench.evaluation.blocks import check_pixels
from fairbench.evaluation.judging import check_logits
from fairbench.losses import cross_entropy
from fairbench.outcomes import Outcomes


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

_IMAGES = 16


class Trust:
    """Raises each check's refusal, or keeps it as a flag where the person has accepted it.

    Attributes:
        accept: names that the person gave.
        flags: {name, severity, class, evidence, advice} of what was accepted, for run.json.

    Raises:
        BadInput: a name in `accept` that is no check, or one that cannot be overridden.
    """

    def __init__(self, accept: Collection[str] = ()) -> None:
        for name in accept:
            if name not in CHECKS:
                raise unknown("check", name, [check for check in CHECKS if CHECKS[check].overridable])
            if not CHECKS[name].overridable:
                raise BadInput(
                    f"check {name!r} ({CHECKS[name].meaning}) cannot be accepted: the number would mean nothing; "
                    f"those that can: {', '.join(check for check in CHECKS if CHECKS[check].overridable)}."
                )
        self.accept = tuple(sorted(set(accept)))
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
    x, y = first_images(dataset, _IMAGES, device)
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
    within = bool(((logits >= -1e-5) & (logits <= 1 + 1e-5)).all())
    if within and bool(((logits.sum(1) - 1).abs() < 1e-4).all()):
        trust.refuse(
            "probabilities",
            f"the model's outputs for {len(logits)} images lie in [0, 1] and sum to 1: they look like probabilities",
            "return logits (remove the softmax), since its saturation hides the gradient from attacks",
        )


def _check_deterministic(model: nn.Module, x: Tensor, logits: Tensor, trust: Trust) -> None:
    change = max(float((model(x) - logits).abs().max()) for _ in range(2))
    if not change <= 1e-5 * float(logits.abs().max()) + 1e-7:
        trust.refuse(
            "non-deterministic",
            f"two forwards of the same images differ by {change:.3g} in their logits",
            "switch the model's randomness off; attacks on random models are not part of this version",
        )


def _check_batch(model: nn.Module, x: Tensor, logits: Tensor, trust: Trust) -> None:
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


def check_accuracy(natural: Outcomes, num_classes: int, trust: Trust) -> None:
    """Refuse a natural accuracy that can only mean wrong normalisation or another order of classes.

    That is one below b = min(2/K, 1/K + (1 - 1/K)/10) (less than twice chance, and less than a tenth of the way from
    chance to perfect), with P(X <= correct) < 0.01 for X ~ Binomial(n, b).
    """
    robust = natural.robust("natural")
    n, correct, chance = len(robust), int(robust.sum()), 1 / num_classes
    bar = min(2 * chance, chance + (1 - chance) / 10)
    if num_classes < 2 or binom.cdf(correct, n, bar) >= 0.01:
        return
    frame = natural.of("natural")
    counts = np.zeros((num_classes, num_classes), dtype=np.int64)
    np.add.at(counts, (frame["label"].to_numpy(), frame["prediction"].to_numpy()), 1)
    rows, columns = linear_sum_assignment(-counts)
    reordered = int(counts[rows, columns].sum())
    order = (
        f"with the classes in another order it would be {reordered / n:.1%}, so check the class order"
        if binom.sf(reordered - 1, n, bar) < 1e-6 and reordered > n * (chance + 1) / 4
        else "check --normalize, the data set and the order of its classes"
    )
    trust.refuse(
        "low-accuracy",
        f"natural accuracy is {correct / n:.1%} on {n} images of {num_classes} classes, near chance ({chance:.1%})",
        order,
    )


def check_normalization(
    model: nn.Module,
    choices: Mapping[str, tuple[tuple[float, ...], tuple[float, ...]]],
    dataset: Dataset,
    trust: Trust,
    device: torch.device,
    *,
    batch_size: int = 100,
) -> None:
    """Refuse a model without normalisation where a known one raises its natural accuracy.

    By over 2 points on up to 1,000 stratified images, with p < 0.001 in the exact two-sided McNemar test.

    Args:
        model: takes pixels in [0, 1].
        choices: (mean, std) per channel, by name.
        dataset: the whole split, whatever samples will be attacked.
        trust: raises or flags "normalize".
        device: where the model is.
        batch_size: images per forward.
    """
    positions = stratified(dataset, 1000)
    right: dict[str, list[np.ndarray[Any, np.dtype[np.bool_]]]] = {name: [] for name in ("none", *choices)}
    pieces = [positions[start : start + batch_size] for start in range(0, len(positions), batch_size)]
    with torch.no_grad():
        for piece, pixels in zip(pieces, dataset.stream(pieces), strict=True):
            x = to_unit(pixels, device)
            right["none"].append(model(x).argmax(1).cpu().numpy() == dataset.y[piece])
            for name, (mean, std) in choices.items():
                shape = (1, -1, 1, 1)
                z = (x - torch.tensor(mean, device=device).view(shape)) / torch.tensor(std, device=device).view(shape)
                right[name].append(model(z).argmax(1).cpu().numpy() == dataset.y[piece])
    verdicts = {name: np.concatenate(parts) for name, parts in right.items()}
    best = max(verdicts, key=lambda name: (int(verdicts[name].sum()), name == "none"))
    none = verdicts["none"]
    gained, lost = int((verdicts[best] & ~none).sum()), int((none & ~verdicts[best]).sum())
    if best == "none" or gained - lost <= 0.02 * len(none):
        return
    if min(1.0, 2 * float(binom.sf(gained - 1, gained + lost, 0.5))) < 0.001:
        trust.refuse(
            "normalize",
            f"natural accuracy on {len(none)} images is {none.mean():.1%} without normalisation, but "
            f"{verdicts[best].mean():.1%} with that of {best!r}",
            f"give --normalize {best}, or --normalize none if the network normalises in some other way",
        )


def stratified(dataset: Dataset, count: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Return up to `count` positions, as equally spread over classes as possible, the lowest indices of each."""
    order = np.argsort(dataset.index, kind="stable")
    place = np.empty(len(order), dtype=np.int64)
    for label in np.unique(dataset.y):
        rows = order[dataset.y[order] == label]
        place[rows] = np.arange(len(rows))
    ranked = np.lexsort((dataset.y, place))[:count]
    return np.sort(ranked)
