"""fairbench eval CHECKPOINT: attack a model and write its per-class run."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fairbench.cli.checkpoint_options import checkpoint_options, open_checkpoint, refuse_empty
from fairbench.cli.several import run_in_processes
from fairbench.cli.whole_number import WholeNumber

if TYPE_CHECKING:
    from collections.abc import Mapping

    import torch

    from fairbench.cli.checkpoint_options import Opened
    from fairbench.data.dataset import Dataset
    from fairbench.evaluation.find_worst import Finding, Question
    from fairbench.evaluation.plan import Plan
    from fairbench.evaluation.trust import Trust
    from fairbench.models.load import LoadedModel
    from fairbench.runs import Run

DEFAULT_ATTACKS = "fgsm,pgd20,cw30,aa"
#: The same for a model with noise of its own.
RANDOM_ATTACKS = "fgsm,pgd20,cw30,aa(version=rand)"
#: Options of `eval` that ask another question than a full evaluation.
RACE_OPTIONS = ("find_worst", "worst_below", "confidence")
#: Options that other commands which evaluate do not have.
OWN_OPTIONS = (*RACE_OPTIONS, "processes")


@click.command(name="eval")
@checkpoint_options
@click.option("--attacks", default=DEFAULT_ATTACKS, show_default=True, help="Names, see 'fairbench list attacks'.")
@click.option("--norm", metavar="Linf|L2|L1", help="Default: Linf; of an rb: model its own.")
@click.option("--eps", metavar="8/255", help="Radius for pixels in [0, 1]. Default: a preset's, else the data set's.")
@click.option("--samples-per-class", type=WholeNumber(1), help="The first N of each class. Default: all.")
@click.option("--engine", default="native", show_default=True, metavar="native|reference", help="Of AutoAttack.")
@click.option(
    "--precision", default="float32", show_default=True, metavar="float32|bf16|float64", help="Of the network."
)
@click.option("--batch-size", type=WholeNumber(1), help="Images per block. Default: fixed per model and data.")
@click.option("--threads", type=WholeNumber(1), help="Of each process. Default: all cores, shared; 1 under torchrun.")
@click.option("--processes", type=WholeNumber(1), help="Of this machine, which share the images. Default: 1.")
@click.option("--device", default="cpu", show_default=True, metavar="cpu|cuda|cuda:N", help="Where it runs.")
@click.option("--seed", type=WholeNumber(0), default=0, show_default=True, help="Of the attacks' noise.")
@click.option("--accept", multiple=True, metavar="CHECK", help="Override a refusal, as printed in it; repeatable.")
@click.option(
    "--allow-random", is_flag=True,
    help="Evaluate a model with noise of its own: aa is its version rand, and most of 20 forwards must err.",
)  # fmt: skip
@click.option("--find-worst", is_flag=True, help="Find the worst class under AutoAttack at a fraction of its cost.")
@click.option("--worst-below", metavar="0.25", help="Ask only whether the worst class is below; exit 1 if it is.")
@click.option("--confidence", metavar="0.95", help="Of --find-worst and --worst-below. Default: 0.95.")
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

    CHECKPOINT is a file, or with the extra 'zoo' the name of a published model: rb:NAME (RobustBench), timm:NAME or
    hf:OWNER/REPO. Its weights are looked for in models/ inside the data folder and in ./models, then downloaded.

    Every finished block of images is saved at once: after an interruption the same command continues. The last line
    printed is the run folder.

    With --find-worst or --worst-below, --attacks is aa and the folder holds race.json: the answer and its certificate.
    """
    from fairbench.cli.eval_race import exit_code, print_finding, question

    refuse_empty(options)
    wanted = question(*(options.pop(name) for name in RACE_OPTIONS))
    if wanted is not None and options["attacks"] == DEFAULT_ATTACKS:
        options["attacks"] = "aa"
    check_without_torch(checkpoint, **options)
    processes = options.pop("processes")
    if wanted is not None and processes is not None:
        raise click.UsageError("--find-worst and --worst-below run in one process; leave --processes out.")
    run_in_processes(processes, threads=options["threads"])

    from fairbench import distributed
    from fairbench.cli.processes import joined
    from fairbench.evaluation.find_worst import Question
    from fairbench.progress import Bars, Silent

    asked = None if wanted is None else Question(*wanted)

    code = 0
    with joined(options.pop("device")) as device:
        progress: Any = Bars() if distributed.is_main() else contextlib.nullcontext(Silent())
        with progress as shown:
            if asked is not None:
                finding = race_checkpoint(checkpoint, asked, device=device, progress=shown, **options)
            else:
                run = evaluate_checkpoint(checkpoint, device=device, progress=shown, **options)
        if distributed.is_main() and asked is not None:
            print_finding(finding)
            code = exit_code(finding)
        elif distributed.is_main():
            _print(run)
    if code:
        raise click.exceptions.Exit(code)


def check_without_torch(
    checkpoint: Path,
    *,
    attacks: str,
    norm: str | None,
    eps: str | None,
    out: str | None,
    trust_program: bool,
    dataset: str | None,
    model: str | None,
    device: str,
    engine: str = "native",
    precision: str = "float32",
    **_: object,
) -> None:
    """Refuse in a moment what can be refused without torch, which takes seconds to load.

    The file comes first: nobody should be asked for the data set of something that is no checkpoint.
    """
    from fairbench.attacks import parse_attacks, preset_eps, split_attacks
    from fairbench.cli.eval_zoo import is_zoo_name
    from fairbench.cli.known_names import (
        refuse_unknown,
        refuse_unknown_dataset,
        refuse_unknown_device,
        refuse_unknown_model,
    )
    from fairbench.models.file_kind import usable_kind
    from fairbench.threat import Threat
    from fairbench.whole_file import usable_folder

    if not is_zoo_name(checkpoint.as_posix()):
        usable_kind(checkpoint, trust_program=trust_program)
    refuse_unknown_dataset(dataset)
    refuse_unknown_model(model)
    refuse_unknown_device(device)
    refuse_unknown("engine", engine)
    refuse_unknown("precision", precision)
    configs = parse_attacks(split_attacks(attacks))
    given = eps if eps is not None else preset_eps(configs)
    threat = Threat.parse(norm or "Linf", given if given is not None else 0.0)
    for config in configs:
        config.check(threat)
    if out is not None:
        usable_folder(Path(out))


def evaluate_checkpoint(checkpoint: Path, *, progress: Any, **options: Any) -> Run:
    """Evaluate a checkpoint with the options of `fairbench eval`; the run folder is complete where this returns."""
    from fairbench import distributed
    from fairbench.evaluation.evaluate import run_plan

    opened, plan, trust, folder = _planned(checkpoint, **options)
    run = run_plan(
        opened.loaded.model, plan, trust, out=folder, progress=progress, normalizations=opened.normalizations,
        whole_split=opened.dataset,
    )  # fmt: skip
    if distributed.is_main():
        _copy_training_log(checkpoint, opened.loaded.sidecar, folder)
    return run


def race_checkpoint(checkpoint: Path, asked: Question, *, progress: Any, **options: Any) -> Finding:
    """Look for the worst class only, with the options of `fairbench eval`."""
    from fairbench.evaluation.find_worst import find_worst

    opened, plan, trust, folder = _planned(checkpoint, **options)
    return find_worst(
        opened.loaded.model, plan, trust, asked, out=folder, progress=progress, normalizations=opened.normalizations,
        whole_split=opened.dataset,
    )  # fmt: skip


def _planned(
    checkpoint: Path,
    *,
    device: torch.device,
    samples_per_class: int | None,
    accept: tuple[str, ...],
    out: str | None,
    attacks: str,
    norm: str | None,
    eps: str | None,
    engine: str,
    precision: str,
    batch_size: int | None,
    threads: int | None,
    seed: int,
    save_adversarial: bool,
    allow_random: bool,
    **place: Any,
) -> tuple[Opened, Plan, Trust, Path]:
    """Open what the options name, and return it with the plan, the checks and the run folder."""
    from fairbench.attacks import parse_attacks, preset_eps, split_attacks
    from fairbench.cli.eval_zoo import is_zoo_name, open_published
    from fairbench.evaluation.plan import make_plan
    from fairbench.evaluation.trust import Trust

    trust = Trust(accept, allow_random=allow_random)
    if allow_random and attacks == DEFAULT_ATTACKS:
        attacks = RANDOM_ATTACKS
    if is_zoo_name(checkpoint.as_posix()):
        opened, norm, own = open_published(checkpoint.as_posix(), norm=norm, eps=eps, **place)
        # A preset of the literature brings its radius with it, as with any other model.
        eps = own if preset_eps(parse_attacks(split_attacks(attacks))) is None else eps
    else:
        opened = open_checkpoint(checkpoint, device=device, **place)
    loaded, whole = opened.loaded, opened.dataset
    samples = whole if samples_per_class is None else whole.first_per_class(samples_per_class)
    record = {
        "name": loaded.name, "sha256": loaded.sha256, "normalize": loaded.normalize,
        "architecture": loaded.architecture, **_origin(loaded),
    }  # fmt: skip
    if loaded.source_sha256 is not None:
        record["source_sha256"] = loaded.source_sha256
    if place.get("model") is not None and (loaded.sidecar or {}).get("architecture") != loaded.architecture:
        record["architecture_from"] = "--model"
    plan = make_plan(
        samples, attacks, norm=norm or "Linf", eps=eps, seed=seed, batch_size=batch_size, precision=precision,
        engine=engine, device=device, threads=threads, model_record=record, save_adversarial=save_adversarial,
        allow_random=allow_random,
    )  # fmt: skip
    folder = Path(out) if out is not None else _default_folder(loaded, samples, plan.digest())
    return opened, plan, trust, folder


def _origin(loaded: LoadedModel) -> dict[str, Any]:
    """Return what the sidecar says of where the model comes from."""
    sidecar = loaded.sidecar or {}
    told = ("method", "slots", "hyper", "recipe", "seed", "selection", "source", "control_of")
    return {key: sidecar[key] for key in told if sidecar.get(key) is not None}


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
    """Print the table of classes, one of attacks, a headline, and the run folder on the last line."""
    import shutil

    from fairbench.cli.flag_lines import flag_lines
    from fairbench.reporting.table_formats import to_text
    from fairbench.reporting.tables import attacks_table, classes_table
    from fairbench.reporting.view import view_runs
    from fairbench.reporting.words import meaning

    (samples,) = view_runs([run])
    (view,) = samples.views
    width = max(shutil.get_terminal_size().columns, 80)
    click.echo(to_text(classes_table(view, view.stem), width), nl=False)
    click.echo(to_text(attacks_table(view), width), nl=False)
    for line in flag_lines(run.record, view.class_names):
        click.echo(line)
    click.echo(f"\n{view.model} on {samples.samples}, {samples.threat}:\n{meaning(view, view.strongest)}")
    click.echo(str(run.folder))
