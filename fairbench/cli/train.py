"""`fairbench train`: a model trained with a named method; the same command continues or finds what it made."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from fairbench.cli.whole_number import WholeNumber

if TYPE_CHECKING:
    from fairbench.training.request import Request

_SLOTS: tuple[Literal["reweight", "remargin", "retemper"], ...] = ("reweight", "remargin", "retemper")


def _pairs(option: str, values: tuple[str, ...]) -> dict[str, str]:
    """Read NAME=VALUE options."""
    pairs: dict[str, str] = {}
    for text in values:
        name, equals, value = text.partition("=")
        if not equals or not name or not value:
            raise click.UsageError(f"{option} takes NAME=VALUE, but is {text[:60]!r}.")
        if name in pairs:
            raise click.UsageError(f"{option} gives {name[:60]!r} twice.")
        pairs[name] = value
    return pairs


def _teachers(values: tuple[str, ...]) -> dict[str, str]:
    """Read [ROLE=]CHECKPOINT options; a path may hold '=', a role is a plain word."""
    teachers: dict[str, str] = {}
    for text in values:
        role, equals, path = text.partition("=")
        if not equals or not role.isidentifier():
            role, path = "", text
        if not path:
            raise click.UsageError(
                f"--teacher takes CHECKPOINT, or ROLE=CHECKPOINT where a method has several, but is {text[:60]!r}."
            )
        if role in teachers:
            raise click.UsageError(
                f"--teacher is given twice {f'as {role[:40]}' if role else 'without a role'}: a method with one "
                "teacher takes --teacher CHECKPOINT once, mtard takes --teacher robust=CKPT --teacher natural=CKPT."
            )
        teachers[role] = path
    return teachers


def _average(text: str | None) -> tuple[str, float | str, float] | None:
    """Read UNIT:DECAY[@START], "epoch:0.85", "step:uniform" or "epoch:uniform@0.75"."""
    if text is None:
        return None
    from fairbench.threat import parse_number
    from fairbench.training.recipe import UNITS, check_start

    unit, _, rest = text.partition(":")
    decay, at, start = rest.partition("@")
    if unit not in UNITS or not decay or (at and not start):
        raise click.UsageError(
            "--average takes epoch:DECAY, step:DECAY or epoch:uniform, and @START behind it where weights enter from a "
            f"fraction of the epochs on (epoch:uniform@0.75), but is {text[:60]!r}."
        )
    value = "uniform" if decay == "uniform" else parse_number(decay, what="the decay of --average", example="0.999")
    if isinstance(value, float) and not value < 1:
        raise click.UsageError(f"the decay of --average must lie in [0, 1), but is {decay[:60]}.")
    begin = parse_number(start, what="the start of --average", example="0.75") if at else 0.0
    check_start(begin, "the start of --average")
    return unit, value, begin


@click.command(name="train")
@click.option("--dataset", required=True, metavar="D", help="A name of 'fairbench list datasets'.")
@click.option("--method", required=True, metavar="M", help="A name of 'fairbench list methods'.")
@click.option("--model", metavar="NAME", help="Architecture; default: the data set's.")
@click.option("--normalize", metavar="HOW", help="none, a known name or MEAN/STD, inside the network; default none.")
@click.option("--teacher", "teachers", multiple=True, metavar="[ROLE=]CKPT", help="A teacher; mtard: one per ROLE.")
@click.option("-p", "hyper", multiple=True, metavar="NAME=VALUE", help="A hyper-parameter of the method; repeatable.")
@click.option("--recipe", default="default", show_default=True, metavar="NAME", help="default, common or paper.")
@click.option("--epochs", type=WholeNumber(1), metavar="N", help="Passes over the training images.")
@click.option("--batch-size", type=WholeNumber(2), metavar="N", help="Images per step, over all processes.")
@click.option("--lr", metavar="X", help="Initial learning rate.")
@click.option("--augment", metavar="NAME", help="none, crop, flip, crop-flip or crop-flip-reflect.")
@click.option("--reweight", metavar="RULE", help="A class rule that weighs losses.")
@click.option("--remargin", metavar="RULE", help="A class rule that sets radii.")
@click.option("--retemper", metavar="RULE", help="A class rule that tempers the teacher's labels.")
@click.option(
    "--average", metavar="UNIT:DECAY[@START]", help="Average of weights: epoch:0.85, step:0.999, epoch:uniform@0.75."
)
@click.option("--awp", metavar="GAMMA", help="Adversarial weight perturbation.")
@click.option("--awp-start", metavar="X", help="The fraction of the epochs where --awp begins; default: 0.")
@click.option("--sync-batch-norm", is_flag=True, help="Batch statistics of all processes (CUDA).")
@click.option("--cache-teacher", is_flag=True, help="Teachers label natural images once; without augmentation.")
@click.option("--init", metavar="CKPT", help="A checkpoint to start from.")
@click.option(
    "--select", metavar="RULE", help="last, best-average, best-worst-class or best-sum, on validation images."
)
@click.option("--samples-per-class", type=WholeNumber(1), metavar="N", help="Train on the first N of each class.")
@click.option("--drop-classes", metavar="NAME,...", help="Classes that are left out: the removal experiment.")
@click.option("--drop-control", metavar="NAME,...", help="As many other classes, drawn at random: its control.")
@click.option("--control-draw", type=WholeNumber(0), metavar="N", help="Which draw of --drop-control; default: 0.")
@click.option("--eps", metavar="R", help="Linf radius, such as 8/255; default: the data set's.")
@click.option("--precision", type=click.Choice(["float32", "bf16"]), help="Of the network while training.")
@click.option("--compile", "compiled", is_flag=True, help="Use torch.compile while training.")
@click.option("--seed", default=0, show_default=True, type=WholeNumber(0, 2**31 - 1), help="Of everything random.")
@click.option("--device", default="cpu", show_default=True, metavar="D", help="cpu, cuda or cuda:N.")
@click.option("--data-dir", metavar="DIR", help="Where data sets lie; default: FAIRBENCH_DATA.")
@click.option("--resize", type=WholeNumber(1), metavar="N", help="Image files: shorter side in pixels.")
@click.option("--crop", type=WholeNumber(1), metavar="N", help="Image files: side of the centre square.")
@click.option("--interpolation", metavar="NAME", help="Of --resize: nearest, bilinear, bicubic or lanczos.")
@click.option("--workers", type=WholeNumber(1), metavar="N", help="Image files: threads that read them.")
@click.option("--out", metavar="DIR", help="Folder of the checkpoint; default: runs/<name>-<hash of the settings>.")
@click.option("--name", metavar="NAME", help="Name of the files; default: <data set>-<method>.")
def command(**given: Any) -> None:
    """Train a model with a method.

    The last line printed is the checkpoint's path. After an interruption the same command goes on where it stopped;
    after the end it prints the path again.
    """
    for option, value in given.items():
        if value == "":
            raise click.UsageError(f"--{option.replace('_', '-')} must not be empty.")
    from fairbench.whole_file import usable_folder

    changes, teachers = _check_without_torch(given)
    out = usable_folder(Path(given["out"])) if given["out"] is not None else None

    from fairbench import distributed
    from fairbench.progress import Bars, Silent
    from fairbench.training.processes import joined
    from fairbench.training.train import train

    request = _request(given, changes, teachers)
    with joined(given["device"]) as device:
        request = replace(request, device=device)
        if not distributed.is_main():
            train(request, out=out, name=given["name"], progress=Silent())
            return
        with Bars() as bars:
            checkpoint = train(request, out=out, name=given["name"], progress=bars)
        click.echo(checkpoint)


def _check_without_torch(given: dict[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the changes to the recipe and the teachers; refuse what can be refused before torch is loaded."""
    from fairbench.cli.known_names import (
        refuse_unknown,
        refuse_unknown_dataset,
        refuse_unknown_device,
        refuse_unknown_model,
    )
    from fairbench.cli.not_hyper import refuse_recipe_values
    from fairbench.errors import unknown
    from fairbench.models.file_kind import usable_kind
    from fairbench.threat import Threat, parse_number
    from fairbench.training.recipe import SELECT_RULES, check_start, check_sync_batch_norm

    def number(option: str, example: str) -> float | None:
        what = f"--{option.replace('_', '-')}"
        return None if given[option] is None else parse_number(given[option], what=what, example=example)

    refuse_unknown("method", given["method"])
    refuse_unknown_dataset(given["dataset"])
    refuse_unknown_model(given["model"])
    for slot in _SLOTS:
        refuse_unknown("class rule", given[slot])
    refuse_unknown("recipe", given["recipe"])
    refuse_unknown("augmentation", given["augment"])
    if given["select"] is not None and given["select"] not in SELECT_RULES:
        raise unknown("selection rule", given["select"], SELECT_RULES)
    refuse_unknown_device(given["device"])
    refuse_recipe_values(_pairs("-p", given["hyper"]))
    changes = {
        "epochs": given["epochs"],
        "batch_size": given["batch_size"],
        "lr": number("lr", "0.1"),
        "augment": given["augment"],
        "average": _average(given["average"]),
        "awp": number("awp", "0.005"),
        "awp_start": number("awp_start", "0.05"),
        "sync_batch_norm": given["sync_batch_norm"] or None,
        "select": given["select"],
        "precision": given["precision"],
        "compile": given["compiled"] or None,
        "cache_teacher": given["cache_teacher"] or None,
    }
    if changes["awp_start"] is not None:
        check_start(changes["awp_start"], "--awp-start")
    if given["sync_batch_norm"]:
        check_sync_batch_norm(given["device"])
    if given["control_draw"] is not None and not given["drop_control"]:
        raise click.UsageError("--control-draw chooses a draw of --drop-control NAME,..., which is missing.")
    if given["eps"] is not None:
        Threat.parse("Linf", given["eps"])
    teachers = _teachers(given["teachers"])
    for path in [*teachers.values(), *([given["init"]] if given["init"] is not None else [])]:
        usable_kind(Path(path), trust_program=False)
    return changes, teachers


def _request(given: dict[str, Any], changes: dict[str, Any], teachers: dict[str, str]) -> Request:
    """Return what the options ask for."""
    from fairbench.training.request import Request

    return Request(
        dataset=given["dataset"],
        method=given["method"],
        model=given["model"],
        normalize=given["normalize"],
        teachers=teachers,
        hyper=_pairs("-p", given["hyper"]),
        slots={slot: given[slot] for slot in _SLOTS if given[slot] is not None},
        recipe=given["recipe"],
        changes=changes,
        init=given["init"],
        eps=given["eps"],
        samples_per_class=given["samples_per_class"],
        drop_classes=_names(given["drop_classes"]),
        drop_control=_names(given["drop_control"]),
        control_draw=given["control_draw"] or 0,
        seed=given["seed"],
        data_dir=given["data_dir"],
        resize=given["resize"],
        crop=given["crop"],
        interpolation=given["interpolation"],
        workers=given["workers"],
    )


def _names(text: str | None) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",")) if text else ()
