"""The recipes that `--recipe` knows: functions from (data set, method) to a `Recipe`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from fairbench.data import DATASETS
from fairbench.errors import BadInput, unknown
from fairbench.methods import find_method
from fairbench.methods.class_rule import Slot
from fairbench.training.recipe import Recipe
from fairbench.training.recipes import PAPER, UNKNOWN


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


def paper(dataset: str, method: str, asked: Sequence[str] = ()) -> Recipe:
    """Return the recipe that a method's authors used on a data set, with what else is asked for (see `words_of`).

    Where nothing asked for has a recipe of its own, it is the method's: a composition is trained as its host was. But
    what somebody published is refused where that recipe is not known (Fair-RSLAD on CIFAR-100): the host's is another.

    Raises:
        BadInput: it is not known to fairbench.
    """
    find_method(method)
    published = {words for name, _, words in PAPER if name == method} | {
        words for name, words in UNKNOWN if name == method
    }
    missing = [words for words in asked if words in published and (method, dataset, words) not in PAPER]
    for words in (*asked, ""):
        if not missing and (method, dataset, words) in PAPER:
            return PAPER[method, dataset, words]()
    known = [f"{of} with {words}" if words else of for name, of, words in PAPER if name == method]
    where = f"it is known for {' and '.join(known)}" if known else "none of its authors' recipes is known"
    raise BadInput(
        f"the authors' recipe of method {method!r}{''.join(f' with {words}' for words in missing)} for data set "
        f"{dataset[:100]!r} is not known to fairbench; {where}. Choose --recipe default or --recipe common."
    )


def words_of(
    hyper: Mapping[str, object], slots: Mapping[Slot, str], model: str | None, changes: Mapping[str, Any]
) -> list[str]:
    """Return what a request asks for beside method and data set, in the words of the command line and of `PAPER`."""
    variants = [value for name, value in hyper.items() if name.rpartition(".")[2] == "variant"]
    return [
        *(f"-p variant={value}" for value in variants),
        *(f"--{slot} {rule}" for slot, rule in slots.items()),
        *([f"--model {model}"] if model is not None else []),
        *(["--awp GAMMA"] if changes.get("awp") else []),
    ]


def _scaled(method: str) -> Mapping[str, Any]:
    scale = find_method(method).common_scale
    return {} if scale is None else {"scale": scale}


RECIPES: dict[str, Callable[[str, str], Recipe]] = {
    "default": default,
    "common": common,
    "paper": paper,
}


def find_recipe(name: str, dataset: str, method: str, asked: Sequence[str] = ()) -> Recipe:
    """Return a named recipe for a data set and method; `asked` is what else the authors' recipe may depend on.

    Raises:
        BadInput: no such recipe, or none for this data set and method.
    """
    if name not in RECIPES:
        raise unknown("recipe", name, RECIPES)
    return paper(dataset, method, asked) if name == "paper" else RECIPES[name](dataset, method)
