"""The epochs that a network was trained before it is fine-tuned: they count where methods are compared."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from fairbench.errors import BadInput
from fairbench.models.checkpoint import read_sidecar
from fairbench.training.recipe import Recipe

_NEVER_ALL = 0.99  # the radius is the full one at the end


def without_warm_start(
    recipe: Recipe, init: str, dataset: str, samples_per_class: int | None, say: Callable[[str], None]
) -> tuple[Recipe, int]:
    """Return the recipe with the epochs that are left after those of the checkpoint `init`, and how many it had.

    The schedule scales with the epochs that are left, and of the radius's rise only what they did not have remains.
    Both trainings must be on the same images in batches of one size, so that an epoch is the same number of gradient
    steps.

    Raises:
        BadInput: the checkpoint does not say how long and on what it was trained, or leaves no epoch.
    """
    path = Path(init)
    known = (read_sidecar(path) or {}) if path.is_file() else {}
    before = known.get("recipe") or {}
    if not isinstance(before.get("epochs"), int) or not isinstance(before.get("batch_size"), int):
        raise BadInput(
            f"--recipe common counts the epochs of the network that --init starts from, but {init[:100]!r} does not "
            "say how long it was trained; give a checkpoint that 'fairbench train' made, or another recipe."
        )
    same = (known.get("dataset"), known.get("samples_per_class"), before["batch_size"])
    if same != (dataset, samples_per_class, recipe.batch_size):
        raise BadInput(
            f"--recipe common counts the epochs of the network that --init starts from, but {init[:100]!r} was trained "
            f"on other images or batches (data set {same[0]}, samples per class {same[1]}, batch size {same[2]}); give "
            f"one of data set {dataset[:60]}, samples per class {samples_per_class}, batch size {recipe.batch_size}."
        )
    gone = before["epochs"] + int(known.get("epochs_before") or 0)
    if gone >= recipe.epochs:
        raise BadInput(
            f"--recipe common has {recipe.epochs} epochs in all, but {init[:100]!r} has had "
            f"{gone} already; give a network trained for fewer, or more --epochs."
        )
    say(f"{gone} of {recipe.epochs} epochs were those of {path.name}: {recipe.epochs - gone} are left")
    left = recipe.epochs - gone
    rising = max(recipe.eps_warmup * recipe.epochs - gone, 0.0)
    return replace(recipe, epochs=left, eps_warmup=min(rising / left, _NEVER_ALL)), gone
