"""`fairbench eval rb:NAME`, `timm:NAME`, `hf:OWNER/REPO`: a published model with the images it was made for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fairbench.data.dataset import Dataset
    from fairbench.models.load import LoadedModel

PREFIXES = ("rb:", "timm:", "hf:")


def is_zoo_name(text: str) -> bool:
    """Say whether `text` names a published model and not a file."""
    return text.startswith(PREFIXES)


def open_published(
    name: str,
    *,
    model: str | None,
    normalize: str | None,
    dataset: str | None,
    data_dir: str | None,
    images: Mapping[str, Any],
    workers: int | None,
    settings: dict[str, Any],
) -> tuple[Dataset, LoadedModel]:
    """Return the images and the model; write the model's norm and radius into `settings` where nobody said them.

    Raises:
        BadInput: an unknown name, weights that cannot be had, --model beside a name, or no data set known.
    """
    from fairbench.data.load import load_dataset
    from fairbench.errors import BadInput
    from fairbench.models.zoo import check_classes, find_zoo_model

    if model is not None:
        raise BadInput(f"--model was given, but {name[:100]} has its own architecture; leave it out.")
    found = find_zoo_model(
        name, dataset=dataset, norm=settings["norm"], data_dir=data_dir, normalize=normalize, own_images=bool(images)
    )
    settings["norm"] = settings["norm"] or found.norm
    if settings["eps"] is None and settings["norm"] == found.norm:
        settings["eps"] = found.eps
    chosen = dataset or found.dataset
    if chosen is None:
        raise BadInput(f"{name[:100]} does not say its data set; say it with --dataset: cifar10, or npz:FILE.")
    # What the model asks for is how ImageNet's files are prepared; arrays have a fixed size.
    prepared = images or (found.images if chosen == found.dataset else {})
    whole = load_dataset(chosen, "test", data_dir=data_dir, workers=workers, **prepared)
    loaded = found.load()
    check_classes(loaded, whole)
    return whole, loaded
