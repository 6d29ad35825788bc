"""fairbench eval CHECKPOINT: attack a model and write its per-class run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fairbench.data.dataset import Dataset, Split
    from fairbench.models.load import LoadedModel
    from fairbench.runs import Run

DEFAULT_ATTACKS = "fgsm,pgd20,cw30,aa"


@click.command(name="eval")
@click.argument("checkpoint", type=click.Path(path_type=Path))
@click.option("--model", metavar="NAME|module:factory|FILE.py:factory", help="Architecture. Default: the sidecar's.")
@click.option("--normalize", metavar="none|NAME|MEAN/STD", help="Default: the sidecar's, else none, checked on images.")
@click.option("--dataset", metavar="NAME|npz:PATH|folder:PATH", help="Default: the sidecar's.")
@click.option("--data-dir", metavar="DIR", help="Where data sets lie. Default: FAIRBENCH_DATA, else ./data.")
@click.option(
    "--resize", type=click.IntRange(min=1), help="Image files: shorter side in pixels. Default: the sidecar's."
)
@click.option(
    "--crop", type=click.IntRange(min=1), help="Image files: side of the centre square. Default: the sidecar's."
)
@click.option("--interpolation", metavar="NAME", help="Of --resize: nearest, bilinear, bicubic or lanczos.")
@click.option("--workers", type=click.IntRange(min=1), help="Image files: threads that read them. Default: up to 8.")
@click.option("--attacks", default=DEFAULT_ATTACKS, show_default=True, help="Names, see 'fairbench list attacks'.")
@click.option("--norm", default="Linf", show_default=True, metavar="Linf|L2|L1")
@click.option("--eps", metavar="8/255", help="Radius for pixels in [0, 1]. Default: a preset's, else the data set's.")
@click.option("--samples-per-class", type=click.IntRange(min=1), help="The first N of each class. Default: all.")
@click.option("--engine", default="native", show_default=True, metavar="native|reference", help="Of AutoAttack.")
@click.option("--precision", default="float32", show_default=True, metavar="float32|bf16|float64")
@click.option("--batch-size", type=click.IntRange(min=1), help="Images per block. Default: fixed per model and data.")
@click.option("--threads", type=click.IntRange(min=1), help="CPU threads. Default: all cores; 1 under torchrun.")
@click.option("--device", default="cpu", show_default=True, metavar="cpu|cuda|cuda:N")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option("--accept", multiple=True, metavar="CHECK", help="Override a refusal, as printed in it; repeatable.")
@click.option("--trust-program", is_flag=True, help="Load TorchScript and torch.export files, which can run code.")
@click.option(
    "--save-adversarial", is_flag=True,
    help="Keep the adversarial examples, for 'fairbench verify': up to 4 bytes per value for each attack and each part "
    "of aa (CIFAR-10: 123 MB per 10,000 images).",
)  # fmt: skip
@click.option(
    "--out", metavar="DIR", help="Run folder. Default: reports/<checkpoint>-<dataset>-<hash of the settings>."
)
def command(checkpoint: Path, **options: Any) -> None:
    """Attack CHECKPOINT and write its run: run.json, outcomes.parquet, metrics.json.

    Every finished block of images is saved at once: after an interruption the same command continues. The last line
    printed is the run folder.
    """
    for name, value in options.items():
        if value == "" or value == ("",):
            raise click.UsageError(f"--{name.replace('_', '-')} is empty; leave it out for its default.")
    check_without_torch(checkpoint, **options)

    from fairbench import distributed
    from fairbench.cli.processes import joined
    from fairbench.progress import Bars, Silent

    with joined(options.pop("device")) as device:
        if distributed.is_main():
            with Bars() as bars:
                run = evaluate_checkpoint(checkpoint, device=device, progress=bars, **options)
            _print(run)
        else:
            evaluate_checkpoint(checkpoint, device=device, progress=Silent(), **options)


def check_without_torch(
    checkpoint: Path, *, attacks: str, norm: str, eps: str | None, out: str | None, trust_program: bool, **_: object
) -> None:
    """Refuse in a moment what can be refused without torch, which takes seconds to load.

    The file comes first: nobody should be asked for the data set of something that is no checkpoint.
    """
    from fairbench.attacks import parse_attacks, preset_eps, split_attacks
    from fairbench.models.file_kind import usable_kind
    from fairbench.threat import Threat
    from fairbench.whole_file import writable_folder

    usable_kind(checkpoint, trust_program=trust_program)
    configs = parse_attacks(split_attacks(attacks))
    given = eps if eps is not None else preset_eps(configs)
    threat = Threat.parse(norm, given if given is not None else 0.0)
    for config in configs:
        config.check(threat)
    if out is not None:
        writable_folder(Path(out))


def evaluate_checkpoint(
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
    samples_per_class: int | None,
    accept: tuple[str, ...],
    trust_program: bool,
    out: str | None,
    progress: Any,
    **settings: Any,
) -> Run:
    """Evaluate a checkpoint with the options of `fairbench eval`; the run folder is complete where this returns."""
    from fairbench import distributed
    from fairbench.data.registry import DATASETS
    from fairbench.evaluation.evaluate import run_plan
    from fairbench.evaluation.plan import make_plan
    from fairbench.evaluation.trust import Trust
    from fairbench.models.checkpoint import read_sidecar
    from fairbench.models.load import load_checkpoint

    trust = Trust(accept)
    sidecar = read_sidecar(checkpoint)
    whole = open_split(
        checkpoint, sidecar, "test", dataset=dataset, data_dir=data_dir, resize=resize, crop=crop,
        interpolation=interpolation, workers=workers,
    )  # fmt: skip
    loaded = load_checkpoint(
        checkpoint, model=model, normalize=normalize, dataset=whole, trust_program=trust_program,
        device=settings["device"],
    )  # fmt: skip
    samples = whole if samples_per_class is None else whole.first_per_class(samples_per_class)
    record = {
        "name": loaded.name, "sha256": loaded.sha256, "normalize": loaded.normalize,
        "architecture": loaded.architecture, **_origin(loaded),
    }  # fmt: skip
    plan = make_plan(samples, settings.pop("attacks"), model_record=record, **settings)
    folder = Path(out) if out is not None else _default_folder(loaded, samples, plan.digest())
    # Only what was said, by a person or a sidecar, is believed without trying the others.
    unsaid = normalize is None and (loaded.sidecar or {}).get("normalize") is None and loaded.normalize == "none"
    known = DATASETS[samples.name].normalizations if unsaid and samples.name in DATASETS else {}
    run = run_plan(loaded.model, plan, trust, out=folder, progress=progress, normalizations=known, whole_split=whole)
    if distributed.is_main():
        _copy_training_log(checkpoint, loaded.sidecar, folder)
    return run


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

    name = dataset or _recorded_dataset(checkpoint, sidecar)
    asked = {"resize": resize, "crop": crop, "interpolation": interpolation}
    prepared = _recorded_preprocess(name, checkpoint, sidecar)
    prepared.update({key: value for key, value in asked.items() if value is not None})
    whole = load_dataset(
        name, split, data_dir=data_dir, workers=workers, validation_seed=validation_seed, **prepared
    )  # fmt: skip
    kept = (sidecar or {}).get("kept_classes")
    return whole if kept is None else keep_classes(whole, kept, what=f"the sidecar of {checkpoint.name[:80]}")


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


def _origin(loaded: LoadedModel) -> dict[str, Any]:
    """Return what the sidecar says of where the model comes from."""
    sidecar = loaded.sidecar or {}
    return {key: sidecar[key] for key in ("method", "hyper", "seed", "selection") if sidecar.get(key) is not None}


def _default_folder(loaded: LoadedModel, samples: Dataset, digest: str) -> Path:
    """Return a folder that the same command finds again."""
    import re

    kind, _, place = samples.name.partition(":")
    name = re.sub(r"[^\w.-]+", "-", Path(place).stem if place else kind).strip("-.")
    return Path("reports") / f"{loaded.name}-{name or kind}-{digest[:8]}"


def _copy_training_log(checkpoint: Path, sidecar: Mapping[str, Any] | None, folder: Path) -> None:
    """Copy the log that the sidecar names into the run folder, for the report's training curves."""
    from fairbench.whole_file import write_whole

    log = (sidecar or {}).get("log")
    if not log:
        return
    # Only a name beside the checkpoint: a sidecar must not reach into other folders.
    source = checkpoint.parent / Path(str(log)).name
    if source.is_file():
        write_whole(folder / "training.jsonl", source.read_bytes())


def _print(run: Run) -> None:
    """Print the table of classes, a headline, and the run folder on the last line."""
    import shutil

    from fairbench.reporting.table_formats import plain, to_text
    from fairbench.reporting.tables import classes_table
    from fairbench.reporting.view import view_runs
    from fairbench.reporting.words import meaning

    (samples,) = view_runs([run])
    (view,) = samples.views
    width = max(shutil.get_terminal_size().columns, 80)
    click.echo(to_text(classes_table(view, view.stem), width), nl=False)
    for flag in run.record.get("flags", ()):
        click.echo(f"accepted {flag['name']}: {plain(str(flag['evidence']))}")
    click.echo(f"\n{view.model} on {samples.samples}, {samples.threat}:\n{meaning(view, view.strongest)}")
    click.echo(str(run.folder))
