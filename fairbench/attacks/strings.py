"""Attack strings ("fgsm", "pgd20", "pgd100(step_size=0.003,restarts=5)", "tpgd20(T=0.5)", "aa") and presets by name."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol

from fairbench.attacks.autoattack import PARTS, VERSIONS, resolved_parts
from fairbench.attacks.registry import ATTACKS, PRESETS, EpsShare
from fairbench.errors import BadInput, unknown
from fairbench.threat import Threat, parse_number

if TYPE_CHECKING:
    from torch import Tensor, nn

    from fairbench.sample_random import SampleRandom

#: What people write for attacks that have another name here.
_MEANT = {"autoattack": "aa", "auto-attack": "aa", "apgd": "aa(parts=apgd-ce)"} | {p: f"aa(parts={p})" for p in PARTS}
_SHAPE = re.compile(r"([A-Za-z_]\w*?)(\d*)(?:\((.*)\))?", re.ASCII)


class Attack(Protocol):
    """A configured attack: everything is fixed but the model, the samples and their radius."""

    def __call__(
        self,
        model: nn.Module,
        x: Tensor,
        y: Tensor,
        *,
        eps: float | Tensor,
        random: SampleRandom,
        judge: nn.Module | None = None,
    ) -> Tensor:
        """Return x_adv; `judge` decides about success where `model` is a faster copy."""


@dataclass(frozen=True)
class AttackConfig:
    """A parsed attack string.

    Attributes:
        name: the string as given, without spaces: the attack's name everywhere.
        family: a key of ATTACKS.
        steps: its number of steps, where the family has one.
        keywords: the value of each keyword of the family, given or not.
        eps: the radius that a preset fixes, as text; None for any other string.
    """

    name: str
    family: str
    steps: int | None
    keywords: Mapping[str, Any]
    eps: str | None = None

    def resolved(self, threat: Threat, num_classes: int) -> dict[str, Any]:
        """Return every keyword as it will be used within `threat` on a data set of `num_classes`, for run.json.

        Raises:
            BadInput: the norm or the radius does not fit the attack.
        """
        self.check(threat)
        family = ATTACKS[self.family]
        shared = {"family": self.family, "objective": family.objective, "norm": threat.norm, "eps": threat.eps}
        if self.family == "aa":
            parts = resolved_parts(norm=threat.norm, num_classes=num_classes, **self.keywords)
            version = self.keywords["version"]
            published = resolved_parts(version, norm=threat.norm, num_classes=num_classes)
            # A reduced budget is no version of the authors': who reads the record must not take it for one.
            return {
                **shared,
                "version": version if [*parts.items()] == [*published.items()] else "custom",
                "parts": parts,
            }
        steps = 1 if self.family == "fgsm" else self.steps
        size = self.keywords["step_size"]
        default = threat.eps if self.family == "fgsm" else threat.eps / 4
        if isinstance(size, EpsShare):
            size = size.share * threat.eps
        return {**shared, "steps": steps, **self.keywords, "step_size": default if size is None else size}

    def check(self, threat: Threat) -> None:
        """Check that the attack is defined for the norm and the radius.

        Raises:
            BadInput: it is not.
        """
        norms = ATTACKS[self.family].norms
        if threat.norm not in norms or (self.eps is not None and threat.norm != "Linf"):
            known = "Linf" if self.eps is not None else " and ".join(norms)
            raise BadInput(f"attack {self.name[:60]!r} is defined for {known}, but the run's norm is {threat.norm}.")
        if self.eps is not None and parse_number(self.eps, what="eps") != threat.eps:
            raise BadInput(
                f"preset {self.name!r} fixes the radius {self.eps}, but the run's radius is {threat.eps_text}; "
                f"a run has one radius, so evaluate them in two runs or write {PRESETS[self.name].attack!r}."
            )


def parse_attack(text: str) -> AttackConfig:
    """Read one attack string.

    Raises:
        BadInput: an unknown family, keyword or value, or a number of steps that is missing or too many.
    """
    name = "".join(text.split())
    if name in PRESETS:
        preset = parse_attack(PRESETS[name].attack)
        return AttackConfig(name, preset.family, preset.steps, preset.keywords, PRESETS[name].eps)
    match = _SHAPE.fullmatch(name)
    family_name = match[1] if match else ""
    if match is None or family_name not in ATTACKS:
        plain = re.sub(r"\(.*", "", name)
        known = [*(family.example for family in ATTACKS.values()), *PRESETS]
        if re.sub(r"\d+$", "", plain) in PRESETS or plain in PRESETS:
            raise BadInput(f"preset {plain!r} takes no keywords and no number of steps, but got {name[:60]!r}.")
        lowered = plain.lower() + name[len(plain) :]
        if lowered != name and _is_known(lowered):
            raise BadInput(f"unknown attack {name[:60]!r}. Did you mean {lowered[:60]!r}? Names are in lower case.")
        if (meant := _MEANT.get(plain.lower().replace("_", "-"))) is not None:
            given = name[len(plain) :].strip("()")
            own = ",".join(word for word in (meant.removeprefix("aa").strip("()"), given) if word)
            raise BadInput(f"unknown attack {name[:60]!r}. Did you mean {f'aa({own[:60]})' if own else 'aa'!r}?")
        raise unknown("attack", name, known)
    family = ATTACKS[family_name]
    steps = _steps(name, family_name, match[2], counted=family.counted, example=family.example)
    return AttackConfig(name, family_name, steps, MappingProxyType(_keywords(name, family_name, match[3])))


def _is_known(name: str) -> bool:
    match = _SHAPE.fullmatch(name)
    return name in PRESETS or (match is not None and match[1] in ATTACKS)


def _steps(name: str, family: str, digits: str, *, counted: bool, example: str) -> int | None:
    if not counted:
        if digits:
            raise BadInput(f"attack {name[:60]!r}: {family} takes no number of steps; write {example!r}.")
        return None
    if not digits or digits.startswith("0") or len(digits) > 6:
        raise BadInput(
            f"attack {name[:60]!r} needs its number of steps after the name, 1 to 999999: for example {example!r}."
        )
    return int(digits)


def _keywords(name: str, family_name: str, inside: str | None) -> dict[str, Any]:
    known = ATTACKS[family_name].keywords
    given: dict[str, str] = {}
    for item in inside.split(",") if inside is not None else ():
        key, equals, value = item.partition("=")
        if not equals or not key or not value:
            raise BadInput(f"attack {name[:60]!r}: keywords are written name=value, but one of them is {item[:40]!r}.")
        if key not in known:
            raise unknown(f"keyword of {family_name}:", key, known)
        if key in given:
            raise BadInput(f"attack {name[:60]!r} gives the keyword {key!r} twice.")
        given[key] = value
    for key, keyword in known.items():
        if keyword.required and key not in given:
            example = ATTACKS[family_name].example
            raise BadInput(f"attack {name[:60]!r} needs {key} ({keyword.meaning}): for example {example!r}.")
    values = {
        key: keyword.read(given[key], f"{key} of {family_name}") if key in given else keyword.default
        for key, keyword in known.items()
    }
    if family_name == "aa":
        _check_used(name, values)
    return values


def _check_used(name: str, values: Mapping[str, Any]) -> None:
    """Check that every number given to AutoAttack is of one of its parts: one that nothing uses is a mistake."""
    parts = values["parts"] or VERSIONS[values["version"]]
    for key, users in (("steps", set(PARTS) - {"square"}), ("queries", {"square"})):
        if values[key] is not None and not users & set(parts):
            raise BadInput(
                f"attack {name[:60]!r} gives {key}, which only {', '.join(sorted(users))} "
                f"{'takes' if len(users) == 1 else 'take'}, but its parts are {', '.join(parts)}."
            )


def split_attacks(text: str) -> list[str]:
    """Split a comma-separated list of attack strings; commas within brackets stay.

    Raises:
        BadInput: brackets that do not match, an empty item, or nothing at all.
    """
    items, depth, item = [], 0, ""
    for letter in text:
        depth += (letter == "(") - (letter == ")")
        if depth < 0:
            break
        if letter == "," and depth == 0:
            items.append(item)
            item = ""
        else:
            item += letter
    items.append(item)
    if depth != 0:
        raise BadInput(f"the brackets in the attacks {text[:80]!r} do not match.")
    if any(not one.strip() for one in items):
        raise BadInput(f"attacks must be names separated by commas, such as 'fgsm,pgd20', but are {text[:80]!r}.")
    return ["".join(one.split()) for one in items]


def parse_attacks(texts: Sequence[str]) -> list[AttackConfig]:
    """Read several attack strings.

    Raises:
        BadInput: as `parse_attack`; also none at all, one given twice, or presets with two radii.
    """
    configs = [parse_attack(text) for text in texts]
    if not configs:
        raise BadInput("no attack was given; give at least one, such as 'pgd20'.")
    names = [config.name for config in configs]
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise BadInput(f"attack {twice[0][:60]!r} was given twice; name each attack once.")
    preset_eps(configs)
    return configs


def preset_eps(configs: Sequence[AttackConfig]) -> str | None:
    """Return the radius that presets fix, as text; None where there is no preset.

    Raises:
        BadInput: two presets fix two radii.
    """
    fixed = {config.eps: config.name for config in configs if config.eps is not None}
    if len(fixed) > 1:
        (eps, name), (other_eps, other) = list(fixed.items())[:2]
        raise BadInput(
            f"presets {name!r} and {other!r} fix two radii, {eps} and {other_eps}; a run has one: evaluate them apart."
        )
    return next(iter(fixed), None)


def attack_function(config: AttackConfig, threat: Threat) -> Attack:
    """Return the attack that `config` names, within the norm of `threat`.

    Raises:
        BadInput: the norm or radius does not fit, or it is AutoAttack, which only an evaluation can run.
    """
    # Here and not above: reading a string must not take the seconds that torch needs to load.
    from fairbench.attacks.balls import BALLS
    from fairbench.attacks.early_stop import stopping
    from fairbench.attacks.named import named_function
    from fairbench.attacks.restarts import keep_best

    config.check(threat)
    named = ATTACKS[config.family].attack
    if named is None:
        raise BadInput(
            f"attack {config.name!r} is a cascade of attacks over survivors and cannot be used as one attack."
        )
    function, ball = named_function(named), BALLS[threat.norm]
    own = dict(config.keywords)
    restarts, early_stop, start = own.pop("restarts"), own.pop("early_stop"), ball.starts[own.pop("start")]
    if "T" in own:
        own["temperature"] = own.pop("T")
    if config.steps is not None:
        own["steps"] = config.steps
    share = own.pop("step_size").share if isinstance(own["step_size"], EpsShare) else None

    def attack(
        model: nn.Module,
        x: Tensor,
        y: Tensor,
        *,
        eps: float | Tensor,
        random: SampleRandom,
        judge: nn.Module | None = None,
    ) -> Tensor:
        descend = stopping(ball.descend, ball.project, judge) if early_stop else ball.descend
        one = descend if config.family == "pgd" else partial(function, descend=descend)
        return keep_best(
            one, model, x, y, eps=eps, random=random, restarts=restarts, judge=judge, start=start,
            **own, **({} if share is None else {"step_size": share * eps}),
        )  # fmt: skip

    return attack
