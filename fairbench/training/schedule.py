"""The learning rate and the radius of each epoch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fairbench.methods.batch import SECOND_EPOCH, epoch_at
from fairbench.training.recipe import Recipe, average_start


def lr_factor(schedule: Sequence[tuple[float, float]], epoch: int, epochs: int) -> float:
    """Return the learning rate of `epoch` (0 .. epochs - 1) over the initial one: constant between milestones.

    `schedule` holds (fraction of the epochs, factor from there on), in order; ((0.5, 0.1), (0.75, 0.01)) of 200 epochs
    means a tenth from epoch 100 on, a hundredth from epoch 150 on.
    """
    factor = 1.0
    for fraction, value in schedule:
        if epoch >= epoch_at(fraction, epochs):
            factor = value
    return factor


def eps_factor(warmup: float, epoch: int, epochs: int) -> float:
    """Return the radius of `epoch` over the full one: rises linearly over the first `warmup` of the epochs.

    With w epochs of warm-up, epoch e has (e + 1) / (w + 1) of it. At a large radius (MNIST's 0.3) cross-entropy on PGD
    examples otherwise never leaves the constant prediction.
    """
    if warmup == 0:
        return 1.0
    return min(1.0, (epoch + 1) / (epoch_at(warmup, epochs) + 1))


def unreached(schedule: Sequence[tuple[float, float]], epochs: int) -> list[float]:
    """Return the fractions whose milestone lies beyond the last epoch or falls on a later one's: a run too short."""
    places = [epoch_at(fraction, epochs) for fraction, _ in schedule]
    following = [*places[1:], epochs][: len(places)]
    return [fraction for (fraction, _), place, end in zip(schedule, places, following, strict=True) if place >= end]


def too_short(recipe: Recipe, starts: Mapping[str, float]) -> list[str]:
    """Return one sentence for each part of the schedule that the recipe's epochs are too few for.

    Args:
        recipe: with its epochs.
        starts: of the method: {what it would do later, in words: the fraction of the epochs}.
    """
    few = "1 epoch is" if recipe.epochs == 1 else f"{recipe.epochs} epochs are"
    missed = " and ".join(f"{fraction:.0%}" for fraction in unreached(recipe.schedule, recipe.epochs))
    sentences = [f"{few} too few for the learning rate to change at {missed} of the schedule"] if missed else []
    if recipe.awp and epoch_at(recipe.awp_start, recipe.epochs) >= recipe.epochs:
        sentences.append(f"{few} too few for AWP to begin at {recipe.awp_start:.0%} of the schedule")
    sentences += [
        f"{few} too few for {what}, which would begin {_when(at)}"
        for what, at in starts.items()
        if epoch_at(at, recipe.epochs) >= recipe.epochs
    ]
    # The last epoch's weights enter an average over epochs after its end, an average over steps within it.
    if recipe.average is not None and recipe.average[0] == "step":
        start = average_start(recipe.average)
        if epoch_at(start, recipe.epochs) >= recipe.epochs:
            sentences.append(f"{few} too few for weights to enter the average from {start:.0%} of the schedule on")
    return sentences


def _when(fraction: float) -> str:
    return "with the second epoch" if fraction == SECOND_EPOCH else f"at {fraction:.0%} of the schedule"
