"""`fairbench mitigate CHECKPOINT`: offsets of the logits fitted on validation images, and what they cost."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fairbench.cli.eval import OWN_OPTIONS
from fairbench.cli.eval import command as evaluation
from fairbench.cli.whole_number import WholeNumber

if TYPE_CHECKING:
    from fairbench.evaluation.adjust import Adjustment

DEFAULT_ATTACKS = "fgsm,pgd20,cw30"
_OWN = ("checkpoint", "attacks", "out", *OWN_OPTIONS)
_UNLIMITED = 10_000
#: Validation images of a class below which a person is warned.
_FEW = 50


@click.command(name="mitigate", params=[parameter for parameter in evaluation.params if parameter.name not in _OWN])
@click.argument("checkpoint", type=click.Path(path_type=Path))
@click.option("--attacks", default=DEFAULT_ATTACKS, show_default=True, help="On test images, before and after.")
@click.option("--fit-attack", default="pgd10", show_default=True, help="On validation images, in every round.")
@click.option("--rounds", type=WholeNumber(1), default=10, show_default=True, help="How often offsets move.")
@click.option("--rate", default="0.5", show_default=True, metavar="X", help="How far they move in a round.")
@click.option("--objective", default="sum", show_default=True, metavar="sum|worst-class", help="What picks the round.")
@click.option("--max-price", metavar="POINTS", help="Largest fall of the validation average. Default: no limit.")
@click.option("--out", metavar="DIR", help="Default: runs/<checkpoint>-adjusted.")
def command(checkpoint: Path, **options: Any) -> None:
    """Add one number per class to CHECKPOINT's logits so that weak classes are predicted more often.

    The numbers are fitted on validation images only (carved from the training part), with the adjusted network attacked
    anew in every round. DIR receives <checkpoint>-adjusted.pt, and before/ and after/: two runs on test images, as
    'fairbench eval' writes them. Prints both, class by class, with the price in average accuracy.

    The last line printed is the adjusted checkpoint.
    """
    from fairbench.cli.eval import check_without_torch, evaluate_checkpoint
    from fairbench.evaluation.networks import device_of
    from fairbench.progress import Bars
    from fairbench.threat import parse_number
    from fairbench.whole_file import usable_folder

    for name, value in options.items():
        if value == "" or value == ("",):
            raise click.UsageError(f"--{name.replace('_', '-')} is empty; leave it out for its default.")
    check_without_torch(checkpoint, **options)
    price = options.pop("max_price")
    fit = {
        "attack": options.pop("fit_attack"),
        "rounds": options.pop("rounds"),
        "rate": parse_number(options.pop("rate"), what="--rate", example="0.5"),
        "objective": options.pop("objective"),
        "max_price": None if price is None else parse_number(price, what="--max-price", example="2"),
    }
    out = usable_folder(Path(options.pop("out") or Path("runs") / f"{checkpoint.stem}-adjusted"))
    device = device_of(options.pop("device"))
    shared = {**options, "device": device}
    with Bars() as bars:
        found, adjusted = _fitted(checkpoint, out, fit, options, device, bars)
        before = evaluate_checkpoint(checkpoint, out=str(out / "before"), progress=bars, **shared)
        # The adjusted file's own sidecar says how to normalise.
        after = evaluate_checkpoint(adjusted, out=str(out / "after"), progress=bars, **shared)
    _print(found, before, after)
    click.echo(str(adjusted))


def _fitted(
    checkpoint: Path, out: Path, fit: dict[str, Any], options: dict[str, Any], device: Any, progress: Any
) -> tuple[Adjustment, Path]:
    """Fit the offsets and write the adjusted checkpoint."""
    import numpy as np

    from fairbench.attacks import parse_attack
    from fairbench.cli.checkpoint_options import open_split
    from fairbench.data.load import default_threat
    from fairbench.errors import BadInput
    from fairbench.evaluation.adjust import fit_offsets, with_offsets
    from fairbench.evaluation.block_size import default_block_size
    from fairbench.evaluation.trust import first_images
    from fairbench.models.checkpoint import read_sidecar, save_checkpoint
    from fairbench.models.factory import is_factory
    from fairbench.models.load import load_checkpoint
    from fairbench.threat import Threat

    sidecar = read_sidecar(checkpoint) or {}
    seed = sidecar.get("validation_seed")
    image_options = {key: options[key] for key in ("dataset", "data_dir", "resize", "crop", "interpolation", "workers")}
    validation = open_split(checkpoint, sidecar, "validation", validation_seed=seed or 0, **image_options)
    name = validation.name
    if seed is None or sidecar.get("dataset") != name:
        progress.say("warning: the checkpoint does not say what it was trained on: it may have seen validation images")
    fewest = int(np.bincount(validation.y, minlength=validation.num_classes).min())
    if fewest < _FEW:
        progress.say(f"warning: only {fewest} validation images in a class: their offsets may not carry over")
    loaded = load_checkpoint(
        checkpoint, model=options["model"], normalize=options["normalize"], dataset=validation,
        trust_program=options["trust_program"], device=device,
    )  # fmt: skip
    config = parse_attack(fit["attack"])
    if config.family == "aa":
        raise BadInput("--fit-attack must be one attack, such as pgd10, but is AutoAttack, which is a cascade.")
    norm = options["norm"] or "Linf"
    text = options["eps"] or config.eps or default_threat(name, norm)
    if text is None:
        raise BadInput(f"data set {name[:100]!r} has no default radius; give one with --eps, such as 8/255.")
    size = options["batch_size"] or default_block_size(loaded.model, first_images(validation, 1, device)[0])
    found = fit_offsets(
        loaded.model, validation, threat=Threat.parse(norm, text), seed=options["seed"], batch_size=size,
        device=device, progress=progress, **fit,
    )  # fmt: skip
    kept = {key: value for key, value in sidecar.items() if key not in ("schema", "sha256", "log", "selection")}
    if not is_factory(loaded.architecture):
        kept.setdefault("architecture", loaded.architecture)
    record = {
        **kept, "dataset": name, "num_classes": validation.num_classes, "shape": list(validation.shape),
        "normalize": loaded.normalize, "class_names": list(validation.class_names),
        "adjustment": {
            **fit, "of": loaded.sha256, "offsets": list(found.offsets), "chosen_round": found.chosen,
            "validation_images": validation.index_sha256,
            "rounds_tried": [{"natural": r.natural, "average": r.average, "worst": r.worst} for r in found.rounds],
        },
    }  # fmt: skip
    path = out / f"{checkpoint.stem}-adjusted.pt"
    return found, save_checkpoint(path, with_offsets(loaded.model, found.offsets, validation), record)


def _print(found: Adjustment, before: Any, after: Any) -> None:
    import shutil
    import sys

    from fairbench.metrics.compare import compare_runs
    from fairbench.reporting.table_formats import plain, to_text
    from fairbench.reporting.tables_mitigation import mitigation_table

    compared = compare_runs(before, after)
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else _UNLIMITED
    click.echo(to_text(mitigation_table(compared, found.offsets), width))
    if found.chosen == 0:
        click.echo("No round was better on the validation images: the checkpoint is as it was.")
        return
    first, taken = found.rounds[0], found.rounds[found.chosen]
    click.echo(
        f"Round {found.chosen} of {len(found.rounds) - 1} was taken. On validation images under the fit's attack the "
        f"worst class went from {100 * first.worst:.1f} to {100 * taken.worst:.1f} % and the average from "
        f"{100 * first.average:.1f} to {100 * taken.average:.1f} %: picked there, so too good."
    )
    click.echo(f"On test images, A before and B after: {plain(compared.sentence)}")
