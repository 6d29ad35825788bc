"""The recipes that `--recipe` knows: functions from (data set, method) to a `Recipe`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from fairbench.data import DATASETS
from fairbench.errors import BadInput, unknown
from fairbench.methods import find_method
from fairbench.training.recipe import Recipe
from fairbench.training.recipes import PAPER


def default(dataset: str, method: str) -> Recipe:
    """Return fairbench's own recipe for a data set: minutes on a CPU for digits and mnist.

    On those two a loss has its method's `common_scale`: RSLAD's family times 10 (a mean over the batch instead of batch
    and classes: the published scale needs the published 300 epochs), WAT's times .5 and CFA's times 7, with which both
    take TRADES's steps while no class has been weighed. `-p scale=1` is the published scale.
    """
    hyper = _scaled(method)
    if dataset == "digits":
        return Recipe(
            "default", epochs=30, batch_size=50, lr=0.1, schedule=((0.6, 0.1), (0.85, 0.01)), hyper=hyper
        )  # fmt: skip
    if dataset in ("mnist", "fashion-mnist"):
        return Recipe(
            "default", epochs=30, batch_size=128, lr=0.1, schedule=((0.6, 0.1), (0.85, 0.01)), eps_warmup=0.3,
            hyper=hyper,
        )  # fmt: skip
    augment = DATASETS[dataset].augment if dataset in DATASETS else "none"
    return Recipe("default", epochs=100, batch_size=128, lr=0.1, schedule=((0.75, 0.1), (0.9, 0.01)), augment=augment)


def common(dataset: str, method: str) -> Recipe:
    """Return one recipe for all methods of a data set: the default's values, and the last epoch's weights.

    Epochs, batches, learning rates, order of the data, warm-up of the radius and rule of selection are the same for
    every method, and no weights are averaged. The one value that depends on the method is `scale`, see `default`, so
    that a step is as large as the others'.
    Epochs of the network that `--init` starts from count (see `fairbench.training.warm_start`).
    """
    return replace(default(dataset, method), name="common", select="last", average=None, awp=0.0, hyper=_scaled(method))


def paper(dataset: str, method: str) -> Recipe:
    """Return the recipe that a method's authors used on a data set.

    Raises:
        BadInput: it is not known to fairbench.
    """
    find_method(method)
    if (method, dataset) not in PAPER:
        known = [of for name, of in PAPER if name == method]
        where = f"it is known for {' and '.join(known)}" if known else "none of its authors' recipes is known"
        raise BadInput(
            f"the authors' recipe of method {method!r} for data set {dataset[:100]!r} is not known to fairbench; "
            f"{where}. Choose --recipe default or --recipe common."
        )
    return PAPER[method, dataset]()


def _scaled(method: str) -> Mapping[str, Any]:
    scale = find_method(method).common_scale
    return {} if scale is None else {"scale": scale}


RECIPES: dict[str, Callable[[str, str], Recipe]] = {
    "default": default,
    "common": common,
    "paper": paper,
}


def find_recipe(name: str, dataset: str, method: str) -> Recipe:
    """Return a named recipe for a data set and method.

    Raises:
        BadInput: no such recipe, or none for this data set and method.
    """
    if name not in RECIPES:
        raise unknown("recipe", name, RECIPES)
    return RECIPES[name](dataset, method)
