"""The published model (rb:, timm:, hf:) that a run's record names, found again by its name and proven by its hash."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from fairbench.data.dataset import Dataset
from fairbench.errors import BadInput
from fairbench.evaluation.recorded import recorded
from fairbench.models.load import LoadedModel

#: As `fairbench.models.zoo` writes a source: the full name, and the package that built the network.
_SOURCE = re.compile(r"((?:rb|timm|hf):\S+) \((?:robustbench|timm) \S+\)")


def published_name(record: Mapping[str, Any]) -> str | None:
    """Return the full name of a run's model, "rb:cifar10/Linf/Carmon2019Unlabeled"; None where it was a file."""
    model = record.get("model")
    found = _SOURCE.fullmatch(str(model.get("source") or "")) if isinstance(model, Mapping) else None
    return None if found is None else found[1]


def published_model(
    record: Mapping[str, Any],
    name: str,
    dataset: Dataset,
    *,
    given: Path | None,
    model: str | None,
    data_dir: str | Path | None,
    device: torch.device,
) -> LoadedModel:
    """Load a run's published model: weights from the models folders, else a download; its hash must be the run's.

    Args:
        record: run.json.
        name: what `published_name` returned.
        dataset: the run's samples.
        given: --checkpoint, which may only say a name.
        model: --model, which a published model does not take.
        data_dir: where the data folder is; weights are in `models` inside it, else in ./models.
        device: where the network is.

    Raises:
        BadInput: weights that cannot be had or are others, another network or normalisation, or an unusable option.
    """
    # At the last moment: the zoo's packages are an extra.
    from fairbench.models.zoo import check_classes, find_zoo_model

    if model is not None:
        raise BadInput(f"--model was given, but the run's model {name[:100]} has its own architecture; leave it out.")
    text = name if given is None else given.as_posix()
    if not text.startswith(("rb:", "timm:", "hf:")):
        raise BadInput(
            f"the run's model is {name[:100]}, which is found by its name, but --checkpoint is the file "
            f"{text[:150]!r}; leave it out, and say with --data-dir where the folder models/ with its weights lies."
        )
    sha256, normalize = (recorded(record, "model", key, kind=str) for key in ("sha256", "normalize"))
    loaded = find_zoo_model(
        text,
        norm=recorded(record, "threat", "norm", kind=str),
        data_dir=data_dir,
        normalize=None if text.startswith("rb:") else normalize,
        own_images=True,  # the samples are the run's already
    ).load()
    check_classes(loaded, dataset)
    if loaded.sha256 != sha256:
        raise BadInput(
            f"the weights of {text[:100]} here are not the run's: their sha256 is {loaded.sha256[:12]}..., the run's "
            f"{sha256[:12]}... ({name[:100]}); get the file that was evaluated."
        )
    architecture = record["model"].get("architecture")
    if (loaded.architecture, loaded.normalize) != (architecture, normalize):
        raise BadInput(
            f"the run's network is {str(architecture)[:80]} with normalisation {normalize[:60]}, but {text[:100]} here "
            f"is {loaded.architecture[:80]} with {loaded.normalize[:60]}; install the packages that wrote the run."
        )
    loaded.model.to(device)
    return loaded
