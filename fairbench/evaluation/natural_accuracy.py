"""Natural accuracy as a witness: far too low, or clearly higher under another normalisation, it refutes the set-up.

Both checks look at up to 1,000 stratified images of the whole split, whatever samples will be attacked: on a handful, a
wrong order of classes could pass.

Shape key: N images, K classes, C H W image.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import torch
from scipy.optimize import linear_sum_assignment
from scipy.stats import binom
from torch import Tensor, nn

from fairbench.data.dataset import Dataset, to_unit
from fairbench.data.registry import Normalization
from fairbench.evaluation.judging import check_logits
from fairbench.evaluation.trust import Trust

_COUNT = 1000
_BATCH = 100
_NONE = "none"


def check_natural(
    model: nn.Module, dataset: Dataset, normalizations: Mapping[str, Normalization], trust: Trust, device: torch.device
) -> None:
    """Run both checks.

    Args:
        model: takes pixels in [0, 1].
        dataset: the whole split, whatever samples will be attacked.
        normalizations: (mean, std) per channel, by name, that the model may be lacking; empty: its own is believed.
        trust: raises or flags "normalize" and "low-accuracy".
        device: where the model is.

    Raises:
        Refused: "normalize", "low-accuracy" or "nan-logits".
    """
    positions = stratified(dataset, _COUNT)
    labels, found = dataset.y[positions], _predictions(model, dataset, positions, normalizations, device)
    check_normalization(labels, found, trust)
    check_accuracy(labels, found[_NONE], dataset.num_classes, trust)


def _predictions(
    model: nn.Module,
    dataset: Dataset,
    positions: npt.NDArray[np.int64],
    normalizations: Mapping[str, Normalization],
    device: torch.device,
) -> dict[str, npt.NDArray[np.int64]]:
    found: dict[str, list[npt.NDArray[np.int64]]] = {name: [] for name in (_NONE, *normalizations)}
    pieces = [positions[start : start + _BATCH] for start in range(0, len(positions), _BATCH)]
    with torch.no_grad():
        for pixels in dataset.stream(pieces):
            x = to_unit(pixels, device)
            logits = model(x)
            check_logits(logits, what="natural images")
            found[_NONE].append(logits.argmax(1).cpu().numpy())
            for name, (mean, std) in normalizations.items():
                found[name].append(
                    model((x - _channels(mean, device)) / _channels(std, device)).argmax(1).cpu().numpy()
                )
    return {name: np.concatenate(parts) for name, parts in found.items()}


def _channels(values: tuple[float, ...], device: torch.device) -> Tensor:
    return torch.tensor(values, device=device).view(1, -1, 1, 1)


def check_accuracy(
    labels: npt.NDArray[np.int64], predictions: npt.NDArray[np.int64], num_classes: int, trust: Trust
) -> None:
    """Refuse a natural accuracy that can only mean wrong normalisation or another order of classes.

    That is one below b = min(2/K, 1/K + (1 - 1/K)/10) (less than twice chance, and less than a tenth of the way from
    chance to perfect), with P(X <= correct) < 0.01 for X ~ Binomial(n, b).

    Args:
        labels: (N,).
        predictions: (N,), of the natural images.
        num_classes: K.
        trust: raises or flags "low-accuracy".
    """
    n, correct, chance = len(labels), int((predictions == labels).sum()), 1 / num_classes
    bar = min(2 * chance, chance + (1 - chance) / 10)
    if num_classes < 2 or binom.cdf(correct, n, bar) >= 0.01:
        return
    counts = np.zeros((num_classes, num_classes), dtype=np.int64)
    np.add.at(counts, (labels, predictions), 1)
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
    labels: npt.NDArray[np.int64], predictions: Mapping[str, npt.NDArray[np.int64]], trust: Trust
) -> None:
    """Refuse a model without normalisation where a known one raises its natural accuracy.

    By over 2 points, with p < 0.001 in the exact two-sided McNemar test.

    Args:
        labels: (N,).
        predictions: (N,) each, by the name of the normalisation; "none" is the model as it is.
        trust: raises or flags "normalize".
    """
    right = {name: found == labels for name, found in predictions.items()}
    best = max(right, key=lambda name: (int(right[name].sum()), name == _NONE))
    none = right[_NONE]
    gained, lost = int((right[best] & ~none).sum()), int((none & ~right[best]).sum())
    if best == _NONE or gained - lost <= 0.02 * len(none):
        return
    if min(1.0, 2 * float(binom.sf(gained - 1, gained + lost, 0.5))) < 0.001:
        trust.refuse(
            "normalize",
            f"natural accuracy on {len(none)} images is {none.mean():.1%} without normalisation, but "
            f"{right[best].mean():.1%} with that of {best!r}",
            f"give --normalize {best}, or --normalize none if the network normalises in some other way",
        )


def stratified(dataset: Dataset, count: int) -> npt.NDArray[np.int64]:
    """Return up to `count` positions, as equally spread over classes as possible, the lowest indices of each."""
    order = np.argsort(dataset.index, kind="stable")
    place = np.empty(len(order), dtype=np.int64)
    for label in np.unique(dataset.y):
        rows = order[dataset.y[order] == label]
        place[rows] = np.arange(len(rows))
    ranked = np.lexsort((dataset.y, place))[:count]
    return np.sort(ranked)
