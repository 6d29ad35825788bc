"""Ask the teachers about every training image once, where no augmentation changes it.

The images are asked about in blocks of the batch size in the data set's order, so that a resumed training has the same
labels to the last bit. Every process asks about all of them: which rows it will need changes with each epoch.
"""

from __future__ import annotations

import numpy as np
import torch

from fairbench.data import Dataset, to_unit
from fairbench.errors import BadInput
from fairbench.methods.base import Method
from fairbench.methods.known_labels import KnownLabels
from fairbench.training.recipe import Recipe


def check_cache(recipe: Recipe, method: Method) -> None:
    """Check that labels can be kept.

    Raises:
        BadInput: augmentation changes the images, or no teacher is asked about them.
    """
    if not recipe.cache_teacher:
        return
    if recipe.augment != "none":
        raise BadInput(
            "--cache-teacher keeps the labels of images that never change, but the augmentation is "
            f"{recipe.augment!r}; give --augment none, or leave --cache-teacher out."
        )
    if not method.asks_of_x():
        raise BadInput(
            f"--cache-teacher keeps a teacher's labels of natural images, but method {method.name!r} as it is set asks "
            "no teacher about them; leave it out."
        )


def label_once(method: Method, dataset: Dataset, *, batch_size: int, device: torch.device) -> int:
    """Give the method its teachers' labels of all training images; return the samples that teachers saw."""
    order = np.arange(len(dataset))
    blocks = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
    roles = method.asks_of_x()
    found: dict[str, list[torch.Tensor]] = {role: [] for role in roles}
    with torch.no_grad():
        for pixels in dataset.stream(blocks):
            x = to_unit(pixels, device)
            for role in roles:
                found[role].append(method.teachers[role](x))
    index = torch.from_numpy(dataset.index).to(device)
    for role, logits in found.items():
        method.know(role, KnownLabels(index, torch.cat(logits)))
    return len(dataset) * len(roles)
