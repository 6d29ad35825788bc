"""A checkpoint beside a data set that it was not trained for, as far as its sidecar and shapes alone show it.

Shape key: C, H, W image; K classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fairbench.errors import BadInput
from fairbench.models.registry import MODELS, Shape


def refuse_other_task(
    name: str, sidecar: Mapping[str, Any] | None, dataset: str, num_classes: int | None, shape: Shape | None
) -> None:
    """Refuse a data set whose images or classes the network of a sidecar cannot take.

    Networks whose weights do not depend on the size of images may be asked about another size.

    Args:
        name: of the checkpoint's file.
        sidecar: what it was trained on; what it does not say is not compared.
        dataset: the data set that it is to be used on.
        num_classes: K of it, None where that is not known yet.
        shape: (C, H, W) of it, None where that is not known yet.

    Raises:
        BadInput: another number of channels or classes, or another size where the architecture has one.
    """
    known = sidecar or {}
    trained_shape, trained_classes = known.get("shape"), known.get("num_classes")
    architecture = known.get("architecture")
    sized = architecture in MODELS and MODELS[architecture].sized
    compared = slice(None) if sized else slice(1)
    differs = trained_shape and shape and tuple(trained_shape)[compared] != tuple(shape)[compared]
    # A network without some of the classes is asked about those that it has.
    if trained_classes and num_classes and known.get("kept_classes") is None:
        differs = differs or trained_classes != num_classes
    if not differs:
        return
    trained = _task(known.get("dataset"), trained_shape, trained_classes)
    raise BadInput(
        f"{name[:100]} was trained on {trained}, but the data set asked for is {_task(dataset, shape, num_classes)}; "
        "use the data set that it was trained on, or another checkpoint."
    )


def _task(dataset: object, shape: object, num_classes: object) -> str:
    known = []
    if isinstance(shape, list | tuple):
        known.append(f"images of {'x'.join(str(side) for side in shape)}")
    if num_classes:
        known.append(f"{num_classes} classes")
    words = ", ".join(known)
    return f"{str(dataset)[:100]} ({words})" if dataset else words
