"""`fairbench diagnose`: why these classes, from a checkpoint (which is evaluated first) or from finished runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fairbench.cli.eval import OWN_OPTIONS
from fairbench.cli.eval import command as evaluation

if TYPE_CHECKING:
    from fairbench.runs import Run

DEFAULT_ATTACKS = "fgsm,pgd20,cw30"
DEFAULT_TEMPERATURES = "0.1,0.3,3,10"
#: Nothing is wrapped where no terminal gives a width (a pipe, a file).
_UNLIMITED = 10_000
_OWN = ("checkpoint", "attacks", "out", *OWN_OPTIONS)


def _options() -> list[click.Parameter]:
    """Return the options of `fairbench eval` that diagnose passes on."""
    return [parameter for parameter in evaluation.params if parameter.name not in _OWN]


@click.command(name="diagnose", params=_options())
@click.argument("targets", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="CHECKPOINT | RUN...")
@click.option("--attacks", default=DEFAULT_ATTACKS, show_default=True, help="Of a checkpoint; as in 'fairbench eval'.")
@click.option(
    "--temperatures", default=DEFAULT_TEMPERATURES, show_default=True, metavar="T,...|none",
    help="Temperature-PGD beside the first pgdN of --attacks, with the same keywords, at these T.",
)  # fmt: skip
@click.option("--superclasses", metavar="FILE", help='JSON {"animals": ["cat", ...], ...}; default: by class names.')
@click.option(
    "--out",
    metavar="DIR",
    help="Of RUN: where diagnosis.json goes instead of its folder; of CHECKPOINT: its run folder.",
)
@click.option("--removed", metavar="RUN", help="The removal experiment: a run trained with 'train --drop-classes'.")
@click.option("--control", metavar="RUN", help="Beside --removed: a run trained without other classes.")
def command(
    targets: tuple[Path, ...],
    superclasses: str | None,
    removed: str | None,
    control: str | None,
    out: str | None,
    **options: Any,
) -> None:
    """Say which classes are weak and what goes along with it.

    A CHECKPOINT is evaluated first, with the options of 'fairbench eval'; RUNs are folders that it wrote, and are read
    without torch. Prints, and writes as diagnosis.json (see --out): where each class's wrong samples go and
    from where it attracts others', how many stay within its superclass, rank correlations of robustness with natural
    accuracy, margin and the norm of the classifier's weights, how far attacks (and models) rank the classes alike, on
    which classes the strongest attack gains, and the sweep of Temperature-PGD. 'fairbench report' shows the same.

    With --removed RUN, only the removal experiment of one RUN is printed: whether samples that went to a class are
    still broken in a network that was trained without it.

    diagnosis.json goes into each run folder, beside a copy of --superclasses, where a report finds it. With --out DIR,
    RUN's folder stays as it is: both go into DIR, or of several runs into DIR/<run>. For a CHECKPOINT, --out is the run
    folder of the evaluation. The last line printed for each run is the folder of its diagnosis.json.
    """
    from fairbench.errors import BadInput
    from fairbench.runs import read_run

    given = {"superclasses": superclasses, "removed": removed, "control": control, "out": out}
    for name, value in {**given, **options}.items():
        if value == "" or value == ("",):
            raise click.UsageError(f"--{name.replace('_', '-')} is empty; leave it out for its default.")
    folders = [target for target in targets if target.is_dir()]
    if folders and len(folders) < len(targets):
        raise BadInput("diagnose takes one checkpoint or run folders, but was given both; name one kind.")
    if not folders and len(targets) > 1:
        raise BadInput(f"diagnose takes one checkpoint at a time, but was given {len(targets)}; run it for each.")
    if folders:
        _refuse_options()
        runs = [read_run(folder) for folder in targets]
        if removed is not None or control is not None:
            if out is not None:
                raise click.UsageError("--removed is printed and written nowhere; leave --out out.")
            _removal(runs, removed, control)
            return
        places = _places(runs, out)
    elif removed is not None or control is not None:
        raise click.UsageError("--removed and --control compare finished runs; give the full network's run folder.")
    else:
        runs = [_evaluated(targets[0], {**options, "out": out})]
        places = _places(runs, None)
    _diagnose(runs, superclasses, places)


def _places(runs: list[Run], out: str | None) -> list[Path]:
    """Return the folder of each run's diagnosis.json, proven to be writable before any work.

    Raises:
        BadInput: a folder that cannot be written, or two runs of one name for one `out`.
    """
    from fairbench.errors import BadInput
    from fairbench.whole_file import usable_folder

    places = []
    for run in runs:
        assert run.folder is not None
        own = run.folder if out is None else Path(out) if len(runs) == 1 else Path(out) / run.name
        if own in places:
            raise BadInput(
                f"two of the runs are called {run.name[:80]!r}; give each an --out of its own, one command at a time."
            )
        places.append(usable_folder(own))
    return places


def _refuse_options() -> None:
    """Refuse options of an evaluation beside run folders, where they would be ignored."""
    from click.core import ParameterSource

    context = click.get_current_context()
    read = ("targets", "superclasses", "removed", "control", "out")
    said = ParameterSource.COMMANDLINE
    given = [name for name in context.params if name not in read and context.get_parameter_source(name) == said]
    if given:
        raise click.UsageError(
            f"--{given[0].replace('_', '-')} belongs to an evaluation, but run folders were given, which are evaluated "
            "already; leave it out, or give the checkpoint."
        )


def _evaluated(checkpoint: Path, options: dict[str, Any]) -> Run:
    from fairbench.cli.eval import check_without_torch, evaluate_checkpoint

    options["attacks"] = _with_temperatures(options["attacks"], options.pop("temperatures"))
    check_without_torch(checkpoint, **options)

    from fairbench.evaluation.networks import device_of
    from fairbench.progress import Bars

    device = device_of(options.pop("device"))
    with Bars() as bars:
        return evaluate_checkpoint(checkpoint, device=device, progress=bars, **options)


def _with_temperatures(attacks: str, temperatures: str) -> str:
    """Return the attacks and the sweep: "pgd20(restarts=2)" gives "tpgd20(restarts=2,T=0.1)", ..."""
    from fairbench.attacks import parse_attack, split_attacks
    from fairbench.errors import BadInput
    from fairbench.threat import parse_number

    names = split_attacks(attacks)
    if temperatures.strip() == "none":
        return ",".join(names)
    plain = next((name for name in names if name.startswith("pgd") and parse_attack(name).eps is None), None)
    if plain is None:
        raise BadInput(
            f"--temperatures needs a pgdN among the attacks to compare with, but they are {attacks[:80]!r}; "
            "add pgd20, or say --temperatures none."
        )
    head, _, inside = plain.partition("(")
    keywords = inside.removesuffix(")")
    sweep = []
    for text in temperatures.split(","):
        parse_number(text.strip(), what="a temperature of --temperatures", example="0.1 or 10")
        own = ",".join(part for part in (keywords, f"T={text.strip()}") if part)
        sweep.append(f"t{head}({own})")
    # Before PGD: of two attacks that are equally strong, a report is about the later one.
    place = names.index(plain)
    return ",".join(dict.fromkeys([*names[:place], *sweep, *names[place:]]))


def _diagnose(runs: list[Run], superclasses: str | None, places: list[Path]) -> None:
    import shutil
    import sys

    from fairbench.metrics.diagnosis import (
        DIAGNOSIS_FILE,
        SUPERCLASS_FILE,
        compare_rankings,
        diagnose,
        diagnosis_json,
    )
    from fairbench.metrics.superclass import read_superclasses
    from fairbench.reporting.table_formats import plain, to_text
    from fairbench.reporting.tables_why import diagnosis_tables, rankings_table
    from fairbench.reporting.view import view_runs
    from fairbench.reporting.why import why
    from fairbench.whole_file import write_whole

    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else _UNLIMITED
    views = {id(view.run): view for sample_set in view_runs(runs) for view in sample_set.views}
    given = [None if superclasses is None else read_superclasses(Path(superclasses), run.class_names) for run in runs]
    for run, groups, place in zip(runs, given, places, strict=True):
        if superclasses is not None:
            # Kept beside the table: a report of this run finds it there.
            write_whole(place / SUPERCLASS_FILE, Path(superclasses).read_bytes())
        found, view = diagnose(run, superclasses=groups), views[id(run)]
        write_whole(place / DIAGNOSIS_FILE, diagnosis_json(found))
        for table in diagnosis_tables(found, view.class_names, view.stem, view.label):
            click.echo(to_text(table, width))
        click.echo("\n".join(plain(sentence) for sentence in why(found, view.class_names)))
        click.echo(str(place))
    if len(runs) > 1:
        labels = [views[id(run)].label for run in runs]
        click.echo()
        click.echo(
            to_text(
                rankings_table(compare_rankings(runs, labels), "rankings", "Do the models rank the classes alike"),
                width,
            )
        )


def _removal(runs: list[Run], removed: str | None, control: str | None) -> None:
    import shutil
    import sys

    from fairbench.metrics.removal import removal
    from fairbench.reporting.table_formats import plain, to_text
    from fairbench.reporting.tables_removal import removal_sentence, removal_table
    from fairbench.runs import read_run

    if removed is None or len(runs) != 1:
        raise click.UsageError("the removal experiment takes one full run, --removed RUN, and --control RUN beside it.")
    found = removal(runs[0], read_run(Path(removed)), None if control is None else read_run(Path(control)))
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else _UNLIMITED
    names = [plain(name) for name in runs[0].class_names]
    click.echo(to_text(removal_table(found, names), width))
    click.echo(plain(removal_sentence(found, names)))
