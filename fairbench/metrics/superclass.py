"""Superclasses: do a class's broken samples stay among its kin?

CIFAR-10 and STL-10: animals and vehicles. CIFAR-100: its 20 official superclasses (Krizhevsky, Learning multiple
layers of features from tiny images, 2009). Others: a JSON file {"superclass": ["class", ...], ...}.

Shape key: K classes, S superclasses.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from fairbench.errors import BadInput
from fairbench.metrics.binomial import wilson
from fairbench.metrics.classwise import Floats, Ints
from fairbench.runs import read_json

_KINDS = {
    "animals": ("bird", "cat", "deer", "dog", "frog", "horse", "monkey"),
    "vehicles": ("airplane", "plane", "automobile", "car", "ship", "truck"),
}
_CIFAR100 = {
    "aquatic mammals": ("beaver", "dolphin", "otter", "seal", "whale"),
    "fish": ("aquarium_fish", "flatfish", "ray", "shark", "trout"),
    "flowers": ("orchid", "poppy", "rose", "sunflower", "tulip"),
    "food containers": ("bottle", "bowl", "can", "cup", "plate"),
    "fruit and vegetables": ("apple", "mushroom", "orange", "pear", "sweet_pepper"),
    "household electrical devices": ("clock", "keyboard", "lamp", "telephone", "television"),
    "household furniture": ("bed", "chair", "couch", "table", "wardrobe"),
    "insects": ("bee", "beetle", "butterfly", "caterpillar", "cockroach"),
    "large carnivores": ("bear", "leopard", "lion", "tiger", "wolf"),
    "large man-made outdoor things": ("bridge", "castle", "house", "road", "skyscraper"),
    "large natural outdoor scenes": ("cloud", "forest", "mountain", "plain", "sea"),
    "large omnivores and herbivores": ("camel", "cattle", "chimpanzee", "elephant", "kangaroo"),
    "medium-sized mammals": ("fox", "porcupine", "possum", "raccoon", "skunk"),
    "non-insect invertebrates": ("crab", "lobster", "snail", "spider", "worm"),
    "people": ("baby", "boy", "girl", "man", "woman"),
    "reptiles": ("crocodile", "dinosaur", "lizard", "snake", "turtle"),
    "small mammals": ("hamster", "mouse", "rabbit", "shrew", "squirrel"),
    "trees": ("maple_tree", "oak_tree", "palm_tree", "pine_tree", "willow_tree"),
    "vehicles 1": ("bicycle", "bus", "motorcycle", "pickup_truck", "train"),
    "vehicles 2": ("lawn_mower", "rocket", "streetcar", "tank", "tractor"),
}
#: Groupings that are known by the names of the classes, so that a copy of a data set under another name has them, too.
_KNOWN = (_KINDS, _CIFAR100)


@dataclass(frozen=True)
class Superclasses:
    """A partition of K classes: S names, and (K,) which of them each class belongs to."""

    names: tuple[str, ...]
    of_class: tuple[int, ...]


@dataclass(frozen=True)
class SuperclassShare:
    """How many errors stay within the true class's superclass.

    Attributes:
        errors: wrong predictions.
        within: those whose prediction belongs to the true class's superclass.
        share: within / errors; NaN without errors.
        interval: Wilson's 95 % limits of the share.
        if_spread: what the share would be if each error fell on any other class with equal chance.
        confusion: (S, S) counts: row superclass of the label, column superclass of the prediction.
        accuracy: (S,) share of a superclass's samples whose prediction belongs to it; NaN where it has none.
    """

    errors: int
    within: int
    share: float
    interval: tuple[float, float]
    if_spread: float
    confusion: Ints
    accuracy: Floats


def known_superclasses(class_names: Sequence[str]) -> Superclasses | None:
    """Return the superclasses of CIFAR-10, STL-10 or CIFAR-100, known by their class names; None for other classes."""
    wanted = [name.strip().lower().replace(" ", "_") for name in class_names]
    for grouping in _KNOWN:
        home = {member: name for name, members in grouping.items() for member in members}
        if wanted and all(name in home for name in wanted):
            names = tuple(name for name in grouping if name in {home[one] for one in wanted})
            return Superclasses(names, tuple(names.index(home[one]) for one in wanted)) if len(names) > 1 else None
    return None


def read_superclasses(path: Path, class_names: Sequence[str]) -> Superclasses:
    """Read a JSON file {"superclass": ["class", ...], ...} that names each class once.

    Raises:
        BadInput: no such file, not of this form, or a class that is unknown, missing or named twice.
    """
    found = read_json(path, what="the superclass file")
    return superclasses_of(found, class_names, what=f"the superclass file {path.name[:80]!r}")


def superclasses_of(grouping: Mapping[str, object], class_names: Sequence[str], *, what: str) -> Superclasses:
    """Return the partition that `grouping` names; `what` is what messages call it.

    Raises:
        BadInput: as `read_superclasses`.
    """
    home: dict[str, int] = {}
    for place, (name, members) in enumerate(grouping.items()):
        if not isinstance(members, (list, tuple)) or not all(isinstance(one, str) for one in members):
            raise BadInput(
                f'{what} must hold lists of class names, such as {{"animals": ["cat", "dog"]}}, but {name[:60]!r} '
                f"holds {str(members)[:60]!r}."
            )
        for member in members:
            if member not in class_names:
                raise BadInput(
                    f"{what} names {member[:60]!r}, which is no class of this run; its classes are "
                    f"{', '.join(class_names)[:200]}."
                )
            if member in home:
                raise BadInput(f"{what} names the class {member[:60]!r} twice; each class belongs to one superclass.")
            home[member] = place
    missing = [name for name in class_names if name not in home]
    if missing:
        raise BadInput(f"{what} leaves out {', '.join(missing)[:200]}; each class must belong to one superclass.")
    return Superclasses(tuple(grouping), tuple(home[name] for name in class_names))


def superclass_share(confusion: npt.ArrayLike, superclasses: Superclasses) -> SuperclassShare:
    """Return how many errors of a (K, K) table of counts stay within the superclass.

    Raises:
        BadInput: another number of classes.
    """
    cells, home = np.asarray(confusion, dtype=np.int64), np.array(superclasses.of_class)
    if cells.shape != (home.size, home.size):
        raise BadInput(f"superclasses of {home.size} classes do not fit a confusion table of shape {cells.shape}.")
    member = np.eye(len(superclasses.names), dtype=np.int64)[home]
    together = member.T @ cells @ member
    broken = cells.sum(axis=1) - np.diagonal(cells)
    errors = int(broken.sum())
    within = int(np.diagonal(together).sum() - np.diagonal(cells).sum())
    low, high = wilson(within, errors)
    kin = np.bincount(home, minlength=len(superclasses.names))[home] - 1
    spread = float((broken * kin).sum() / (errors * (home.size - 1))) if errors and home.size > 1 else np.nan
    total = together.sum(axis=1).astype(np.float64)
    accuracy = np.divide(np.diagonal(together), total, out=np.full(total.shape, np.nan), where=total > 0)
    return SuperclassShare(
        errors, within, within / errors if errors else np.nan, (float(low), float(high)), spread, together, accuracy
    )
