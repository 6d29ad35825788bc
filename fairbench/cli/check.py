"""fairbench check CHECKPOINT: signs of masked gradients and of broken evaluation, on a small budget."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fairbench.cli.checkpoint_options import checkpoint_options, open_checkpoint, refuse_empty
from fairbench.cli.whole_number import WholeNumber

if TYPE_CHECKING:
    import torch
    from torch import nn

    from fairbench.data.dataset import Dataset
    from fairbench.evaluation.masking.check import CheckResult


@click.command(name="check")
@checkpoint_options
@click.option("--norm", metavar="Linf|L2|L1", help="Of the radius. Default: Linf; of an rb: model its own.")
@click.option("--eps", metavar="8/255", help="Radius for pixels in [0, 1]. Default: the data set's.")
@click.option("--samples-per-class", type=WholeNumber(1), help="The first N of each class. Default: 200 in all.")
@click.option("--batch-size", type=WholeNumber(1), help="Images per forward. Default: fixed per model and data.")
@click.option("--threads", type=WholeNumber(1), help="CPU threads; on a machine that is busy 1 is fastest.")
@click.option("--device", default="cpu", show_default=True, metavar="cpu|cuda|cuda:N", help="Where it runs.")
@click.option("--seed", type=WholeNumber(0), default=0, show_default=True, help="Of the attacks' noise.")
@click.option("--accept", multiple=True, metavar="CHECK", help="Override a refusal, as printed in it; repeatable.")
@click.option("--transfer-from", metavar="CHECKPOINT", help="Another network for the same images: file or name.")
@click.option("--transfer-model", metavar="NAME|FILE.py:factory", help="Its architecture. Default: its sidecar's.")
@click.option("--transfer-normalize", metavar="none|NAME|MEAN/STD", help="Its normalisation. Default: its sidecar's.")
def command(checkpoint: Path, **options: Any) -> None:
    """Look for signs that attacks on CHECKPOINT fail for other reasons than robustness.

    CHECKPOINT is a file, or with the extra 'zoo' the name of a published model, as in 'fairbench eval'.

    Exit 0 where no flag was raised, 1 where one was, 2 where `eval` would refuse the model. That no flag was raised
    proves nothing. A minute for small networks; write nothing.
    """
    import shutil

    from fairbench.cli.eval import check_without_torch
    from fairbench.progress import Bars
    from fairbench.reporting.check_table import check_table
    from fairbench.reporting.table_formats import to_text

    refuse_empty(options)
    check_without_torch(checkpoint, attacks="aa", out=None, **options)
    from fairbench.evaluation.networks import device_of

    device = device_of(options.pop("device"))
    with Bars() as bars:
        result, names = _checked(checkpoint, device=device, progress=bars, **options)
    table = check_table(result.flags, names, result.left_out)
    if result.flags:
        click.echo(to_text(table, max(shutil.get_terminal_size().columns, 80)), nl=False)
    else:
        for note in table.notes:
            click.echo(note)
    click.echo(_sentence(result))
    if result.flags:
        raise click.exceptions.Exit(1)


def _checked(
    checkpoint: Path,
    *,
    device: torch.device,
    norm: str | None,
    eps: str | None,
    samples_per_class: int | None,
    batch_size: int | None,
    seed: int,
    threads: int | None,
    accept: tuple[str, ...],
    transfer_from: str | None,
    transfer_model: str | None,
    transfer_normalize: str | None,
    progress: Any,
    **place: Any,
) -> tuple[CheckResult, tuple[str, ...]]:
    from fairbench.cli.eval_zoo import is_zoo_name, open_published
    from fairbench.evaluation.masking.check import check_model
    from fairbench.evaluation.plan import threat_for
    from fairbench.evaluation.trust import Trust

    if transfer_from is None and (transfer_model is not None or transfer_normalize is not None):
        raise click.UsageError("--transfer-model and --transfer-normalize describe the network of --transfer-from.")
    trust = Trust(accept)
    if is_zoo_name(checkpoint.as_posix()):
        opened, norm, eps = open_published(checkpoint.as_posix(), norm=norm, eps=eps, **place)
    else:
        opened = open_checkpoint(checkpoint, device=device, **place)
    threat = threat_for(opened.dataset.name, norm or "Linf", eps)
    surrogate = None
    if transfer_from is not None and is_zoo_name(transfer_from):
        surrogate = _published_surrogate(
            transfer_from, opened.dataset, transfer_model, transfer_normalize, place["data_dir"]
        ).to(device)
    elif transfer_from is not None:
        from fairbench.models.load import load_checkpoint

        surrogate = load_checkpoint(
            transfer_from, model=transfer_model, normalize=transfer_normalize, dataset=opened.dataset,
            trust_program=place["trust_program"], device=device,
        ).model  # fmt: skip
    result = check_model(
        opened.loaded.model, opened.dataset, threat, trust=trust, samples_per_class=samples_per_class,
        batch_size=batch_size, seed=seed, threads=threads, device=device, surrogate=surrogate,
        normalizations=opened.normalizations, progress=progress,
    )  # fmt: skip
    return result, opened.dataset.class_names


def _published_surrogate(
    name: str, dataset: Dataset, model: str | None, normalize: str | None, data_dir: str | None
) -> nn.Module:
    """Return the published model `name` for images that are open already."""
    from fairbench.errors import BadInput
    from fairbench.models.zoo import check_classes, find_zoo_model

    if model is not None:
        raise BadInput(f"--transfer-model was given, but {name[:100]} has its own architecture; leave it out.")
    loaded = find_zoo_model(name, data_dir=data_dir, normalize=normalize, own_images=True).load()
    check_classes(loaded, dataset)
    return loaded.model


def _sentence(result: CheckResult) -> str:
    probes = f"{len(result.evaluated)} probes on {result.images} images ({', '.join(result.evaluated)})"
    if not result.flags:
        return f"no flag raised by {probes}; that proves nothing, since probes know known signs only."
    names = ", ".join(dict.fromkeys(str(flag["name"]) for flag in result.flags))
    return f"flagged: {names}, by {probes}; robust accuracies of this model may be too good."
