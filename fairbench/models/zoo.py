"""Published models by name: `rb:NAME` (RobustBench), `timm:NAME` and `hf:OWNER/REPO`; needs the extra `zoo`."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import nn

from fairbench.data.dataset import Dataset
from fairbench.data.registry import DATASETS
from fairbench.errors import BadInput
from fairbench.models.load import LoadedModel
from fairbench.models.normalize import normalized
from fairbench.models.zoo_files import check_hash, models_folders, obtain


@dataclass(frozen=True)
class ZooModel:
    """A model that was found by its name, before its weights are read.

    Attributes:
        source: its full name, "rb:cifar10/Linf/Carmon2019Unlabeled".
        dataset: the data set it was made for; None where only a person knows.
        norm: the norm it was made for, None where it was made for none.
        eps: the radius as text at which its zoo evaluates such models in that norm; None where it has none.
        images: how image files are prepared: resize, crop, interpolation, as `load_dataset` takes them.
        load: reads the weights: () -> LoadedModel on the CPU.
    """

    source: str
    dataset: str | None
    norm: str | None
    eps: str | None
    images: Mapping[str, Any]
    load: Callable[[], LoadedModel]


def find_zoo_model(
    text: str,
    *,
    dataset: str | None = None,
    norm: str | None = None,
    data_dir: str | Path | None = None,
    normalize: str | None = None,
    own_images: bool = False,
) -> ZooModel:
    """Return the model that `text` names.

    Args:
        text: "rb:[DATASET/[NORM/]]NAME", "timm:NAME" or "hf:OWNER/REPO".
        dataset: decides between models of one name.
        norm: the same.
        data_dir: where the data folder is; weights are in `models` inside it, else in ./models.
        normalize: instead of timm's own normalisation.
        own_images: a person says how image files are prepared; what the model wants is not asked for.

    Raises:
        BadInput: an unknown or ambiguous name, a missing package, or a normalisation beside an rb: name.
    """
    prefix, name = (text[: text.index(":") + 1], text[text.index(":") + 1 :])
    if not name.strip():
        raise BadInput(f"{prefix} must be followed by a name, such as rb:Carmon2019Unlabeled or timm:resnet18.a1_in1k.")
    folders = models_folders(data_dir)
    if prefix == "rb:":
        if normalize is not None:
            raise BadInput("--normalize was given, but RobustBench's models hold their normalisation; leave it out.")
        return _robustbench(name, dataset, norm, folders, own_images)
    return _timm(prefix, name, folders, normalize, own_images)


def check_classes(loaded: LoadedModel, dataset: Dataset) -> None:
    """Refuse a model whose number of outputs is not the data set's number of classes.

    Raises:
        BadInput: they differ.
    """
    if loaded.num_classes != dataset.num_classes:
        raise BadInput(
            f"{loaded.architecture[:100]} has {loaded.num_classes} classes, but {dataset.name[:100]} has "
            f"{dataset.num_classes}; give the data set that it was trained on with --dataset, or another model."
        )


def _robustbench(
    name: str, dataset: str | None, norm: str | None, folders: tuple[Path, Path], own_images: bool
) -> ZooModel:
    from fairbench.models import zoo_robustbench as zoo

    with zoo.robustbench() as utils:
        definition = zoo.find_definition(utils, name, dataset=dataset, norm=norm)
        images = {} if own_images else zoo.preprocessing(utils, definition)

    def load() -> LoadedModel:
        with zoo.robustbench() as utils:
            files = zoo.files(utils, definition)
            folder = obtain(files, folders, str(definition))
            network = zoo.load(utils, definition, folder)
            count = zoo.num_classes(utils, definition)
        digests = [check_hash(folder / file.relative) for file in files]
        # Of one file its own hash, of several the hash of their hashes.
        digest = digests[0] if len(digests) == 1 else hashlib.sha256("\n".join(digests).encode()).hexdigest()
        return _loaded(network, str(definition), digest, "inside", str(definition), count)

    eps = "0.5" if definition.norm == "L2" else DATASETS[definition.dataset].eps
    return ZooModel(str(definition), definition.dataset, definition.norm, eps, images, load)


def _timm(prefix: str, name: str, folders: tuple[Path, Path], normalize: str | None, own_images: bool) -> ZooModel:
    from fairbench.models import zoo_timm as zoo

    model = None
    if prefix == "timm:":
        config: Mapping[str, Any] = zoo.timm_config(name)
    else:
        model = zoo.load_hub(name, folders)
        config = model.config
    dataset = "imagenet" if config.get("num_classes") == 1000 else None
    images = {} if own_images or dataset is None else zoo.preprocessing_of(config)

    def load() -> LoadedModel:
        found = model or zoo.load_timm(name, folders)
        text = normalize if normalize is not None else zoo.normalization_of(config)
        network = normalized(found.network.eval(), text, int(config["input_size"][0]))
        return _loaded(network, prefix + name, found.sha256, text, found.architecture, int(config["num_classes"]))

    return ZooModel(prefix + name, dataset, None, None, images, load)


def _loaded(
    network: nn.Module, source: str, sha256: str, normalize: str, architecture: str, num_classes: int
) -> LoadedModel:
    for name, value in network.state_dict().items():
        if not bool(torch.isfinite(value).all()):
            raise BadInput(f"{source[:100]} holds NaN or infinite weights, first in {name[:80]!r}; get its file again.")
    package = "robustbench" if source.startswith("rb:") else "timm"
    sidecar = {"source": f"{source} ({package} {version(package)})", "normalize": normalize}
    file_name = source.rpartition("/")[2] if source.startswith("rb:") else source.replace(":", "-").replace("/", "-")
    return LoadedModel(network.eval(), file_name, sha256, normalize, architecture, num_classes, sidecar)
