"""`fairbench eval rb:NAME`, `timm:NAME`, `hf:OWNER/REPO`: a published model with the images it was made for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fairbench.cli.checkpoint_options import Opened

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
    resize: int | None,
    crop: int | None,
    interpolation: str | None,
    workers: int | None,
    norm: str | None,
    eps: str | None,
    trust_program: bool,
) -> tuple[Opened, str | None, str | None]:
    """Return what was opened, the norm and the radius: those of the model where nobody said others.

    Raises:
        BadInput: an unknown name, weights that cannot be had, --model beside a name, or no data set known.
    """
    from fairbench.cli.checkpoint_options import Opened
    from fairbench.data.load import load_dataset
    from fairbench.errors import BadInput
    from fairbench.models.zoo import check_classes, find_zoo_model

    if model is not None:
        raise BadInput(f"--model was given, but {name[:100]} has its own architecture; leave it out.")
    said = {"resize": resize, "crop": crop, "interpolation": interpolation}
    images = {key: value for key, value in said.items() if value is not None}
    found = find_zoo_model(
        name, dataset=dataset, norm=norm, data_dir=data_dir, normalize=normalize, own_images=bool(images)
    )
    norm = norm or found.norm
    chosen = dataset or found.dataset
    if chosen is None:
        raise BadInput(f"{name[:100]} does not say its data set; say it with --dataset: cifar10, or npz:FILE.")
    # What the model asks for is how ImageNet's files are prepared; arrays have a fixed size.
    prepared: Mapping[str, Any] = images or (found.images if chosen == found.dataset else {})
    whole = load_dataset(chosen, "test", data_dir=data_dir, workers=workers, **prepared)
    loaded = found.load()
    check_classes(loaded, whole)
    return Opened(loaded, whole, {}), norm, eps or (found.eps if norm == found.norm else None)
