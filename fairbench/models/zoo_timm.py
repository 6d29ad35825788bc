"""Models of timm: `timm:NAME` by its registry, `hf:OWNER/REPO` by a repository of the Hugging Face hub that timm wrote.

Weights are a local file, `models/timm/NAME.safetensors` (or .pth, .pt, .bin) and `models/hf/OWNER/REPO/` (config.json
and model.safetensors or pytorch_model.bin), else a download of huggingface_hub, which continues by itself. They are
read as every checkpoint is: nothing in a file is run. The normalisation is the one in timm's configuration.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from torch import nn

from fairbench import distributed
from fairbench.errors import BadInput, unknown
from fairbench.models.weights import read_weights
from fairbench.models.zoo_files import WeightsFile, check_hash, download_folder, missing, obtain
from fairbench.runs import read_json
from fairbench.whole_file import write_whole

_ENDINGS = (".safetensors", ".pth", ".pt", ".bin")
_HUB_FILES = ("model.safetensors", "pytorch_model.bin")


class TimmModel(NamedTuple):
    """A network with its weights, timm's configuration of it, and the SHA-256 of the weights file."""

    network: nn.Module
    config: Mapping[str, Any]
    sha256: str
    architecture: str


def _timm() -> Any:
    try:
        import timm
    except ImportError as error:
        raise BadInput(f"timm: and hf: names need timm ({str(error)[:200]}); pip install -e '.[zoo]'.") from error
    return timm


def timm_config(name: str) -> dict[str, Any]:
    """Return timm's configuration of NAME or NAME.TAG.

    Raises:
        BadInput: timm is missing, or has no such model or no such weights.
    """
    timm = _timm()
    architecture, _, tag = name.partition(".")
    if not timm.is_model(architecture):
        raise unknown("timm model", name, timm.list_models())
    tags = [one.partition(".")[2] for one in timm.list_pretrained(f"{architecture}.*")]
    if tag and tag not in tags:
        raise unknown(f"weights of timm's {architecture}", tag, tags)
    config: dict[str, Any] = timm.models.get_pretrained_cfg(name, allow_unregistered=True).to_dict()
    return config


def load_timm(name: str, folders: tuple[Path, Path]) -> TimmModel:
    """Return the model timm:NAME.

    Raises:
        BadInput: as `timm_config`, or its weights cannot be had, are damaged or do not fit.
    """
    timm, config = _timm(), timm_config(name)
    path = next(
        (place for folder in folders for end in _ENDINGS if (place := folder / "timm" / f"{name}{end}").is_file()), None
    )
    if path is None:
        if not config.get("hf_hub_id") and not config.get("url"):
            raise BadInput(
                f"timm has no weights of {name[:80]}; put yours into {folders[0] / 'timm' / name}.safetensors, or name "
                "a model of timm.list_pretrained()."
            )
        if config.get("hf_hub_id"):
            hub = f"{config['hf_hub_id']}"
            path = _from_hub(hub, _HUB_FILES, _hub_folder(hub, _HUB_FILES, folders), f"timm:{name}")
        else:
            file = WeightsFile(Path("timm", f"{name}.pth"), str(config["url"]))
            path = obtain([file], folders, f"timm:{name}") / file.relative
    digest = check_hash(path)
    try:
        network = timm.create_model(name, pretrained=True, pretrained_cfg_overlay={"state_dict": read_weights(path)})
    except (RuntimeError, KeyError) as error:
        raise _unfit(path, f"timm:{name}", error) from error
    return TimmModel(network, config, digest, f"timm:{name}")


def load_hub(repository: str, folders: tuple[Path, Path]) -> TimmModel:
    """Return the model hf:OWNER/REPO.

    Raises:
        BadInput: it cannot be had, is not timm's, is damaged or does not fit.
    """
    timm, what = _timm(), f"hf:{repository}"
    if len(repository.split("/")) != 2 or not all(part.strip(". ") for part in repository.split("/")):
        raise BadInput(f"hf: takes OWNER/REPO, such as hf:timm/resnet18.a1_in1k, but got {repository[:80]!r}.")
    place = _hub_folder(repository, ("config.json",), folders)
    written = read_json(_from_hub(repository, ("config.json",), place, what), what="the configuration")
    config = dict(written.get("pretrained_cfg") or written)
    architecture, count = written.get("architecture"), written.get("num_classes", config.get("num_classes"))
    if not isinstance(architecture, str) or not timm.is_model(architecture) or type(count) is not int:
        raise BadInput(
            f"{what[:100]} is not a model of timm: its config.json names the architecture {str(architecture)[:60]!r} "
            f"and {str(count)[:20]!r} classes; name a repository that timm wrote."
        )
    path = _from_hub(repository, _HUB_FILES, place, what)
    digest = check_hash(path)
    try:
        arguments = written.get("model_args") or {}
        network = timm.create_model(architecture, pretrained=False, num_classes=count, **arguments)
        network.load_state_dict(read_weights(path))
    except (RuntimeError, KeyError, TypeError) as error:
        raise _unfit(path, what, error) from error
    return TimmModel(network, {**config, "num_classes": count}, digest, f"timm:{architecture}")


def _hub_folder(repository: str, names: tuple[str, ...], folders: tuple[Path, Path]) -> Path:
    """Return the folder that holds one of the files of a repository, else the one to download into."""
    places = [folder / "hf" / repository for folder in folders]
    held = (place for place in places if any((place / name).is_file() for name in names))
    return next(held, download_folder(folders) / "hf" / repository)


def _from_hub(repository: str, names: tuple[str, ...], place: Path, what: str) -> Path:
    """Return the first of several files of a repository that is in the folder `place`, else download it there."""
    for name in names:
        if (place / name).is_file():
            return place / name
    import huggingface_hub
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    file = WeightsFile(Path("hf", repository, names[0]), f"https://huggingface.co/{repository}/resolve/main/{names[0]}")
    try:
        if distributed.is_main():
            for name in names:
                try:
                    huggingface_hub.hf_hub_download(repository, name, local_dir=place)
                    _note_hash(repository, place / name)
                    break
                except LocalEntryNotFoundError:
                    raise
                except EntryNotFoundError:
                    if name == names[-1]:
                        raise
    except Exception as error:  # of several HTTP libraries, old and new
        raise missing(file, place / names[0], what, f"the download failed ({type(error).__name__})") from error
    distributed.barrier()
    return next(place / name for name in names if (place / name).is_file())


def _note_hash(repository: str, path: Path) -> None:
    """Write down the SHA-256 that the hub publishes for large files, for `check_hash`."""
    import huggingface_hub

    etag = huggingface_hub.get_hf_file_metadata(huggingface_hub.hf_hub_url(repository, path.name)).etag or ""
    if len(etag) == 64:
        write_whole(Path(f"{path}.sha256"), f"{etag}  {path.name}\n")


def _unfit(path: Path, what: str, error: Exception) -> BadInput:
    reason = " ".join(str(error).split())[:200]
    return BadInput(f"{path.name[:80]} does not fit {what[:100]} ({reason}); get the file of that model.")


def normalization_of(config: Mapping[str, Any]) -> str:
    """Return MEAN/STD of timm's configuration as --normalize takes it."""
    return "/".join(",".join(repr(float(value)) for value in config[key]) for key in ("mean", "std"))


def preprocessing_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return resize, crop and interpolation of timm's configuration: shorter side to side / crop_pct, then the centre.

    Raises:
        BadInput: another way of cropping.
    """
    mode, side = config.get("crop_mode") or "center", int(config["input_size"][1])
    if mode != "center":
        raise BadInput(
            f"timm crops this model's images by {mode!r}, but fairbench cuts the centre; give --resize, --crop."
        )
    # As timm.data.transforms_factory.transforms_imagenet_eval.
    resize = math.floor(side / float(config.get("crop_pct") or 0.875))
    return {"resize": resize, "crop": side, "interpolation": str(config.get("interpolation") or "bilinear")}
