"""ATTACKS and PRESETS: every attack that a string can name, and the keywords it takes.

Names, keywords and values are known without torch, so that a mistake in them is found before torch is loaded.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from fairbench.attacks.autoattack import PARTS, VERSIONS
from fairbench.errors import BadInput, unknown
from fairbench.threat import Norm, parse_number


@dataclass(frozen=True)
class EpsShare:
    """A step size as a share of the radius: "7/31*eps"."""

    share: float


@dataclass(frozen=True)
class Keyword:
    """A keyword in brackets: how its text is read, and its value where it is not given."""

    read: Callable[[str, str], Any]
    default: Any
    meaning: str
    required: bool = False


def _number(text: str, what: str) -> float:
    value = parse_number(text, what=what)
    if not 0 < value < 1e6:
        raise BadInput(f"{what} must be above 0 and below 1e6, but is {text[:40]!r}.")
    return value


def _step_size(text: str, what: str) -> float | EpsShare:
    share, times, rest = text.partition("*")
    return EpsShare(_number(share, what)) if times and rest == "eps" else _number(text, what)


def _temperature(text: str, what: str) -> float:
    value = parse_number(text, what=what, example="0.5 or 10")
    if not 1e-6 <= value <= 1e6:
        raise BadInput(f"{what} must lie between 1e-6 and 1e6, but is {text[:40]!r}.")
    return value


def _kappa(text: str, what: str) -> float:
    return parse_number(text, what=what, example="50")


def _count(text: str, what: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 6 and int(text) >= 1):
        raise BadInput(f"{what} must be a whole number of at least 1, but is {text[:40]!r}.")
    return int(text)


def _one_of(*choices: str) -> Callable[[str, str], str]:
    def read(text: str, what: str) -> str:
        if text not in choices:
            raise unknown(f"value of {what}:", text, choices)
        return text

    return read


def _parts(text: str, what: str) -> tuple[str, ...]:
    names = tuple(text.split("+"))
    for name in names:
        if name not in PARTS:
            raise unknown(f"part in {what}:", name, PARTS)
        if names.count(name) > 1:
            raise BadInput(f"{what} names {name!r} twice; each part runs once.")
    return names


def _yes_or_no(text: str, what: str) -> bool:
    return _one_of("yes", "no")(text, what) == "yes"


def _start(default: str) -> Keyword:
    return Keyword(
        _one_of("uniform", "normal", "none"), default, "uniform in the ball | normal: x + 0.001 N(0,1) | none"
    )


_STEP_SIZE = Keyword(_step_size, None, "in pixel units, 0.003 or 2/255, or 7/31*eps; eps/4 where not given")
_SHARED = {
    "step_size": _STEP_SIZE,
    "restarts": Keyword(_count, 1, "runs; each sample keeps its best example"),
    "early_stop": Keyword(_yes_or_no, False, "yes: a sample stops at its first misclassified iterate"),
}


@dataclass(frozen=True)
class Family:
    """A family of attacks.

    Attributes:
        example: a string that names one of them.
        summary: what it does, in one line.
        attack: where it is, "module:function" in `fairbench.attacks`: (model, x, y, *, eps, random, descend, start,
            step_size, **own) -> x_adv; None for AutoAttack, a cascade that the evaluator runs.
        objective: the name of what it increases, for run.json.
        counted: whether the number of steps follows the name ("pgd20").
        keywords: by name.
        norms: where it is defined.
    """

    example: str
    summary: str
    attack: str | None
    objective: str
    counted: bool
    keywords: Mapping[str, Keyword] = field(default_factory=dict)
    norms: tuple[Norm, ...] = ("Linf", "L2")


ATTACKS: dict[str, Family] = {
    "fgsm": Family(
        "fgsm", "one step of eps on the cross-entropy, no start", "fgsm:fgsm", "cross-entropy", False,
        {"start": _start("none"), **_SHARED, "step_size": Keyword(_step_size, None, "eps where not given")},
    ),
    "pgd": Family(
        "pgd20", "PGD on the cross-entropy, uniform start, step eps/4, final iterate", "pgd:pgd", "cross-entropy", True,
        {"start": _start("uniform"), **_SHARED},
    ),
    "cw": Family(
        "cw30", "PGD on the margin loss of Carlini & Wagner", "cw:cw", "margin", True,
        {"start": _start("uniform"), "kappa": Keyword(_kappa, None, "confidence in logits; else no limit"), **_SHARED},
    ),
    "tpgd": Family(
        "tpgd20(T=0.5)", "Temperature-PGD: the cross-entropy of logits at a temperature",
        "temperature_pgd:temperature_pgd", "cross-entropy at a temperature", True,
        {
            "T": Keyword(_temperature, None, "temperature; 1 is PGD", required=True),
            "where": Keyword(_one_of("divide", "multiply"), "divide", "logits / T | logits * T"),
            "start": _start("uniform"), **_SHARED,
        },
    ),
    "kl": Family(
        "kl10", "PGD on the KL divergence to the natural prediction (TRADES's attack)", "kl:kl",
        "KL to the natural prediction", True, {"start": _start("normal"), **_SHARED},
    ),
    "aa": Family(
        "aa", "AutoAttack: apgd-ce, apgd-t, fab-t, square, each on the survivors of the one before", None,
        "AutoAttack", False,
        {
            "version": Keyword(_one_of(*VERSIONS), "standard", " | ".join(VERSIONS)),
            "parts": Keyword(_parts, None, "other parts than the version's, joined by +"),
            "steps": Keyword(_count, None, "of APGD and FAB; 100 where not given"),
            "queries": Keyword(_count, None, "of Square; 5000 where not given"),
        },
        norms=("Linf", "L2", "L1"),
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Preset:
    """A name of the literature for an attack string and a radius (both in pixel units, Linf)."""

    attack: str
    eps: str
    used_by: str


PRESETS: dict[str, Preset] = {
    "pgd20_003": Preset("pgd20(step_size=0.003)", "8/255", "ABSLD, RSLAD (while training)"),
    "pgd20_003_031": Preset("pgd20(step_size=0.003)", "0.031", "TRADES, DAFA"),
    "pgd20_2_255": Preset("pgd20(step_size=2/255)", "8/255", "Fair-ARD, FRL"),
    "pgd20_eps4": Preset("pgd20(early_stop=yes)", "8/255", "FAAL"),
    "pgd10_2_255": Preset("pgd10(step_size=2/255)", "8/255", "CFA (selection)"),
    "pgd100_003_031": Preset("pgd100(step_size=0.003)", "0.031", "WAT"),
    "fgsm_f": Preset("fgsm(start=normal)", "8/255", "Fair-ARD"),
    "cw_k50_2_255": Preset("cw20(step_size=2/255,kappa=50)", "8/255", "Fair-ARD"),
    "cw_k50_003": Preset("cw30(step_size=0.003,kappa=50)", "0.031", "WAT"),
    "cw_margin": Preset("cw20", "8/255", "FAAL"),
}


def describe_attacks() -> list[tuple[str, str]]:
    """Return (a name, description) of every family, for `fairbench list attacks`."""
    rows = []
    for family in ATTACKS.values():
        takes = f" [{', '.join(family.keywords)}]" if family.keywords else ""
        rows.append((family.example, family.summary + takes))
    return rows


def describe_presets() -> list[tuple[str, str]]:
    """Return (name, description) of every preset, for `fairbench list attacks`."""
    return [(name, f"{preset.attack} at {preset.eps}: {preset.used_by}") for name, preset in PRESETS.items()]
