"""When two runs answer the same question: the same samples, threat, resolved attacks and protocol.

Block size, threads, device, processes and precision are not part of it: they may only round a float differently, and
whether they did is exactly what `fairbench gate --same` counts.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from fairbench.errors import NotComparable
from fairbench.outcomes import NATURAL
from fairbench.runs import Run


def common_attacks(run: Run, baseline: Run) -> tuple[str, ...]:
    """Return the attacks that both runs hold, "natural" first, after checking that the runs may be compared.

    Parts of a cascade ("aa/apgd-ce") are attacks of their own here.

    Raises:
        NotComparable: samples, classes, threat, protocol or a common attack's keywords differ, or no attack is common.
    """
    for what, mine, theirs in _questions(run.record, baseline.record):
        if mine != theirs:
            raise NotComparable(
                f"the runs {run.name!r} and {baseline.name!r} are not comparable: they differ in {what} "
                f"({_short(mine)} against {_short(theirs)}); evaluate both in the same way."
            )
    common = tuple(name for name in run.outcomes.attacks if name in baseline.outcomes.attacks)
    for name in common:
        difference = resolved_difference(run.record, baseline.record, name)
        if difference is not None:
            raise NotComparable(
                f"the runs {run.name!r} and {baseline.name!r} are not comparable: the attack {_short(name)} stands for "
                f"different keywords ({difference}); evaluate both with the same version of fairbench."
            )
        mine, theirs = run.outcomes.of(name), baseline.outcomes.of(name)
        if not all(np.array_equal(mine[column], theirs[column]) for column in ("index", "label")):
            raise NotComparable(
                f"the runs {run.name!r} and {baseline.name!r} are not comparable: the attack {_short(name)} "
                f"saw different samples or labels ({len(mine)} against {len(theirs)} rows); "
                "evaluate both on the same samples."
            )
    if not any(name != NATURAL for name in common) and set(run.outcomes.attacks) != set(baseline.outcomes.attacks):
        raise NotComparable(
            f"the runs {run.name!r} and {baseline.name!r} are not comparable: they have no attack in common "
            f"({_short(', '.join(run.outcomes.attacks))} against {_short(', '.join(baseline.outcomes.attacks))})."
        )
    return common


def resolved_difference(mine: Mapping[str, Any], theirs: Mapping[str, Any], attack: str) -> str | None:
    """Return in words how two records resolve the keywords of one attack differently; None where they agree."""
    ours, others = (record.get("attacks", {}).get(attack) for record in (mine, theirs))
    if ours == others:
        return None
    if not isinstance(ours, Mapping) or not isinstance(others, Mapping):
        return f"{_short(ours)} against {_short(others)}"
    keys = [key for key in {**ours, **others} if ours.get(key) != others.get(key)]
    return _short("; ".join(f"{key}={ours.get(key)} against {others.get(key)}" for key in keys), 160)


def _questions(mine: Mapping[str, Any], theirs: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    """Return (what, mine, theirs) of everything that must be equal, coarse differences first."""
    ours, others = mine.get("dataset", {}), theirs.get("dataset", {})
    threat, other = mine.get("threat", {}), theirs.get("threat", {})
    return [
        ("the number of classes", ours.get("num_classes"), others.get("num_classes")),
        ("the samples", _samples(ours), _samples(others)),
        ("the norm", threat.get("norm"), other.get("norm")),
        ("eps", _eps(threat), _eps(other)),
        ("the protocol version", mine.get("protocol"), theirs.get("protocol")),
    ]


class _Told:
    """A value that is compared by its key and printed by its words."""

    def __init__(self, key: object, words: str) -> None:
        self.key, self.words = key, words

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Told) and self.key == other.key

    def __hash__(self) -> int:
        return hash(self.words)

    def __str__(self) -> str:
        return self.words


def _samples(dataset: Mapping[str, Any]) -> _Told:
    # Not by name: a folder may have moved. The two hashes say which samples they are and what is in them.
    words = f"{dataset.get('count')} of {dataset.get('name')} {dataset.get('split')}, {dataset.get('selection')}"
    key = (dataset.get("index_sha256"), dataset.get("sha256"))
    return _Told(key, f"{words}, hash {str(dataset.get('sha256'))[:8]}")


def _eps(threat: Mapping[str, Any]) -> _Told:
    eps = threat.get("eps")
    return _Told(eps, "none" if eps is None else str(threat.get("eps_text", eps)))


def _short(value: object, limit: int = 80) -> str:
    text = str(value)
    return text if len(text) <= limit else text[: limit - 3] + "..."
