"""`fairbench list KIND`: what this installation knows, one name at the start of each line; headings begin with "#"."""

from __future__ import annotations

import inspect

import click


@click.command(name="list")
@click.argument("kind", type=click.Choice(["datasets", "models", "methods", "attacks"]))
def command(kind: str) -> None:
    """List data sets, models, methods or attacks.

    Every line begins with the plain name that other commands take, and is never folded; a heading begins with "#".
    """
    sections = {
        "datasets": lambda: {"": _datasets()},
        "models": lambda: {"": _models()},
        "methods": lambda: {"": _methods()},
        "attacks": _attacks,
    }[kind]()
    width = max(len(name) for listed in sections.values() for name, _ in listed)
    for heading, listed in sections.items():
        if heading:
            click.echo(f"# {heading}")
        for name, text in listed:
            click.echo(f"{name:<{width}}  {text}")


def _datasets() -> list[tuple[str, str]]:
    from fairbench.data import DATASETS

    known = [
        (name, f"{spec.description}; {spec.num_classes} classes, default Linf radius {spec.eps}")
        for name, spec in DATASETS.items()
    ]
    return [
        *known,
        ("npz:FILE", "your own arrays for evaluation: x uint8 (N, H, W[, C]), y, and perhaps class_names; needs --eps"),
        ("npz:FOLDER", "your own arrays: train.npz (or train-0.npz, train-1.npz, ...) and test.npz; needs --eps"),
        ("folder:PATH", "your own images: one sub-folder per class, or train/ and test/ of such; needs --eps"),
    ]


def _models() -> list[tuple[str, str]]:
    from fairbench.models import MODELS
    from fairbench.models.torchvision_models import PREFIX, torchvision_names

    return [
        *((name, spec.description) for name, spec in MODELS.items()),
        *((f"{PREFIX}{name}", "torchvision's classifier") for name in torchvision_names()),
        ("FILE.py:factory", "your own: a function without arguments that returns an nn.Module, in any file"),
        ("module:factory", "the same in an importable module"),
    ]


def _methods() -> list[tuple[str, str]]:
    from fairbench.methods import METHODS

    return [(name, _first_line(inspect.getmodule(method))) for name, method in METHODS.items()]


def _first_line(thing: object) -> str:
    return (inspect.getdoc(thing) or "").partition("\n")[0]


def _attacks() -> dict[str, list[tuple[str, str]]]:
    from fairbench.attacks import describe_attacks, describe_presets

    return {
        "Attacks, one example each: the number is that of steps, and names in [...] are keywords, as in "
        "pgd100(step_size=0.003,restarts=5)": describe_attacks(),
        "Presets of the literature: fixed names, without keywords; each sets the run's radius, too": describe_presets(),
    }
