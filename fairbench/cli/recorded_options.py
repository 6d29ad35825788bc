"""The options of commands that work on a finished run: where its model and its data are now."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from fairbench.cli.whole_number import WholeNumber

if TYPE_CHECKING:
    import torch

    from fairbench.data.dataset import Dataset
    from fairbench.models.load import LoadedModel
    from fairbench.runs import Run

F = TypeVar("F", bound=Callable[..., Any])

_OPTIONS = (
    click.option(
        "--checkpoint", type=click.Path(path_type=Path), metavar="PATH",
        help="The run's checkpoint. Default: the file of its name and hash in ./checkpoints or here; a published "
        "model is found by its name, with weights in models/ inside the data folder, in ./models, or downloaded.",
    ),
    click.option(
        "--model", metavar="module:factory|FILE.py:factory", help="Its architecture, where the run's is your own code."
    ),
    click.option("--dataset", metavar="NAME|npz:PATH|folder:PATH", help="Where the samples are. Default: the run's."),
    click.option("--data-dir", metavar="DIR", help="Where data and models/ lie. Default: FAIRBENCH_DATA, else ./data."),
    click.option("--resize", type=WholeNumber(1), help="Image folders: as in the run."),
    click.option("--crop", type=WholeNumber(1), help="Image folders: as in the run."),
    click.option("--threads", type=WholeNumber(1), help="CPU threads. Default: the run's."),
    click.option("--device", metavar="cpu|cuda|cuda:N", help="Default: the run's."),
    click.option("--trust-program", is_flag=True, help="Load TorchScript and torch.export files, which can run code."),
)  # fmt: skip


def recorded_options(command: F) -> F:
    """Add the options that `recorded_task` takes, and those of where to work."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def recorded_device(run: Run) -> str:
    """Return the kind of device that a run was made on, without its number."""
    from fairbench.evaluation.recorded import recorded

    return str(recorded(run.record, "device", kind=str)).partition(":")[0]


def recorded_task(
    run: Run,
    *,
    checkpoint: Path | None,
    model: str | None,
    dataset: str | None,
    data_dir: str | None,
    resize: int | None,
    crop: int | None,
    trust_program: bool,
    device: torch.device,
) -> tuple[LoadedModel, Dataset]:
    """Return the model and the samples of a run, each proven by its hash.

    Raises:
        BadInput: one of them is not found, or is another one.
    """
    from fairbench.evaluation.recorded import recorded_checkpoint, recorded_dataset, recorded_model
    from fairbench.evaluation.recorded_published import published_model, published_name

    name = published_name(run.record)
    if name is not None:
        samples = recorded_dataset(run.record, name=dataset, data_dir=data_dir, resize=resize, crop=crop)
        found = published_model(
            run.record, name, samples, given=checkpoint, model=model, data_dir=data_dir, device=device
        )
        return found, samples
    path = recorded_checkpoint(run.record, checkpoint)
    samples = recorded_dataset(run.record, name=dataset, data_dir=data_dir, resize=resize, crop=crop)
    loaded = recorded_model(run.record, path, samples, model=model, trust_program=trust_program, device=device)
    return loaded, samples
