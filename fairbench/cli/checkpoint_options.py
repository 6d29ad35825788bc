"""Which network, and on which images: the options that commands about a checkpoint share, and what they open.

CHECKPOINT, --model, --normalize, --dataset, --data-dir, --resize, --crop, --interpolation, --workers, --trust-program.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from fairbench.cli.whole_number import WholeNumber

if TYPE_CHECKING:
    import torch

    from fairbench.data.dataset import Dataset, Split
    from fairbench.data.registry import Normalization
    from fairbench.models.load import LoadedModel

_Command = TypeVar("_Command", bound=Callable[..., Any])

_OPTIONS = (
    click.argument("checkpoint", type=click.Path(path_type=Path)),
    click.option(
        "--model", metavar="NAME|module:factory|FILE.py:factory", help="Architecture. Default: the sidecar's."
    ),
    click.option(
        "--normalize", metavar="none|NAME|MEAN/STD", help="Default: the sidecar's, else none, checked on images."
    ),
    click.option("--dataset", metavar="NAME|npz:PATH|folder:PATH", help="Default: the sidecar's."),
    click.option("--data-dir", metavar="DIR", help="Where data sets lie. Default: FAIRBENCH_DATA, else ./data."),
    click.option(
        "--resize", type=WholeNumber(1), help="Image files: shorter side in pixels. Default: the sidecar's."
    ),
    click.option(
        "--crop", type=WholeNumber(1), help="Image files: side of the centre square. Default: the sidecar's."
    ),
    click.option("--interpolation", metavar="NAME", help="Of --resize: nearest, bilinear, bicubic or lanczos."),
    click.option(
        "--workers", type=WholeNumber(1), help="Image files: threads that read them. Default: up to 8."
    ),
    click.option(
        "--trust-program", is_flag=True, help="Load TorchScript and torch.export files, which can run code."
    ),
)  # fmt: skip


def checkpoint_options(command: _Command) -> _Command:
    """Give a command the argument and the options; `open_checkpoint` takes what they hold."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


@dataclass(frozen=True)
class Opened:
    """A network on its device, the test images, and the normalisations that should be tried on them."""

    loaded: LoadedModel
    dataset: Dataset
    normalizations: Mapping[str, Normalization]


def open_checkpoint(
    checkpoint: Path,
    *,
    model: str | None,
    normalize: str | None,
    dataset: str | None,
    data_dir: str | None,
    resize: int | None,
    crop: int | None,
    interpolation: str | None,
    workers: int | None,
    trust_program: bool,
    device: torch.device,
) -> Opened:
    """Open the images and then the network for them.

    Raises:
        BadInput: no such file, or it does not fit.
    """
    from fairbench.models.checkpoint import read_sidecar
    from fairbench.models.file_kind import usable_kind
    from fairbench.models.load import load_checkpoint
    from fairbench.models.normalize import candidates

    usable_kind(checkpoint, trust_program=trust_program)
    images = open_split(
        checkpoint, read_sidecar(checkpoint), "test", dataset=dataset, data_dir=data_dir, resize=resize, crop=crop,
        interpolation=interpolation, workers=workers,
    )  # fmt: skip
    loaded = load_checkpoint(
        checkpoint, model=model, normalize=normalize, dataset=images, trust_program=trust_program, device=device
    )
    # Only what was said, by a person or a sidecar, is believed without trying the others.
    unsaid = normalize is None and (loaded.sidecar or {}).get("normalize") is None and loaded.normalize == "none"
    known = candidates(images.name, images.shape[0]) if unsaid else {}
    return Opened(loaded, images, known)


def open_split(
    checkpoint: Path,
    sidecar: Mapping[str, Any] | None,
    split: Split,
    *,
    dataset: str | None,
    data_dir: str | None,
    resize: int | None,
    crop: int | None,
    interpolation: str | None,
    workers: int | None,
    validation_seed: int = 0,
) -> Dataset:
    """Return a split of what the options say, else the sidecar: data set, preparation of image files, and classes."""
    from fairbench.data.dropped import keep_classes
    from fairbench.data.load import load_dataset
    from fairbench.data.registry import DATASETS
    from fairbench.models.other_task import refuse_other_task

    name = dataset or _recorded_dataset(checkpoint, sidecar)
    asked = {"resize": resize, "crop": crop, "interpolation": interpolation}
    spec = DATASETS.get(name)
    if spec is not None and spec.images is None and not any((workers, *asked.values())):
        # Before files are asked for that the network could not be shown; image files may be resized.
        refuse_other_task(checkpoint.name, sidecar, name, spec.num_classes, spec.shape)
    prepared = _recorded_preprocess(name, checkpoint, sidecar)
    prepared.update({key: value for key, value in asked.items() if value is not None})
    whole = load_dataset(
        name, split, data_dir=data_dir, workers=workers, validation_seed=validation_seed, **prepared
    )  # fmt: skip
    kept = (sidecar or {}).get("kept_classes")
    return whole if kept is None else keep_classes(whole, kept, what=f"the sidecar of {checkpoint.name[:80]}")


def refuse_empty(options: Mapping[str, Any]) -> None:
    """Refuse options that are given without a value.

    Raises:
        click.UsageError: an option is an empty text.
    """
    for name, value in options.items():
        if value in ("", ("",), Path()):
            raise click.UsageError(f"--{name.replace('_', '-')} is empty; leave it out for its default.")


def _recorded_dataset(checkpoint: Path, sidecar: Mapping[str, Any] | None) -> str:
    from fairbench.errors import BadInput

    name = (sidecar or {}).get("dataset")
    if not name:
        raise BadInput(
            f"{checkpoint.name[:100]} has no sidecar that names its data set; say it with --dataset: cifar10, or "
            "npz:FILE ('fairbench list datasets')."
        )
    return str(name)


def _recorded_preprocess(name: str, checkpoint: Path, sidecar: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return how the sidecar says that image files were prepared; nothing where it does not, or for arrays."""
    from dataclasses import asdict

    from fairbench.data.image_folder import Preprocess
    from fairbench.data.load import holds_image_files

    record = (sidecar or {}).get("preprocess")
    if record is None or not holds_image_files(name):
        return {}
    return asdict(Preprocess.of_record(record, what=f"the sidecar of {checkpoint.name[:100]}"))
