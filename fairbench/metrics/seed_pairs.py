"""Whether pairs of runs are one method against another under several seeds: each side one method, trained alike.

The t interval over per-seed differences speaks about two methods only if nothing but the seed differs between the
trainings of one side, and if the two trainings of a pair share their seed. What a record does not know is not refused:
a checkpoint from elsewhere has no seed, an older run no recipe.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fairbench.errors import BadInput
from fairbench.runs import Run

_SIDES = ("first", "second")
#: What the trainings of one side must share: the key in the record of the model, and its name in a sentence.
_ALIKE = (
    ("architecture", "architecture"), ("slots", "class rules"), ("hyper", "hyper-parameters"), ("recipe", "recipe"),
    ("selection", "rule of selection"),
)  # fmt: skip


def refuse_unlike(pairs: Sequence[tuple[Run, Run]]) -> None:
    """Check that pairs of runs, one pair per seed, are two methods under several seeds.

    Raises:
        BadInput: a checkpoint or a seed stands in two pairs, the two runs of a pair were trained with different seeds,
            or the runs of one side differ in method, architecture, class rules, hyper-parameters, recipe or rule of
            selection.
    """
    for side, name in enumerate(_SIDES):
        models = [_model(pair[side]) for pair in pairs]
        hashes = [model["sha256"] for model in models]
        if len(set(hashes)) < len(hashes):
            raise BadInput("the same checkpoint stands in two pairs of seeds; each pair needs trainings of its own.")
        methods = list(dict.fromkeys(str(model.get("method")) for model in models))
        if len(methods) > 1:
            raise BadInput(
                f"the {name} runs of the pairs were trained by different methods ({' and '.join(methods)[:80]}); each "
                "side is one method under several seeds."
            )
        for key, what in _ALIKE:
            _refuse_difference(name, what, [_told(model, key) for model in models])
        seeds = [model["seed"] for model in models if model.get("seed") is not None]
        twice = next((seed for seed in seeds if seeds.count(seed) > 1), None)
        if twice is not None:
            raise BadInput(
                f"the {name} runs of two pairs were both trained with seed {twice}; each pair needs a seed of its own."
            )
    for place, pair in enumerate(pairs, start=1):
        before, after = (_model(run).get("seed") for run in pair)
        if None not in (before, after) and before != after:
            raise BadInput(
                f"pair {place} compares a training with seed {before} with one with seed {after}; put runs of one seed "
                "into a pair."
            )


def _model(run: Run) -> Mapping[str, Any]:
    found: Mapping[str, Any] = run.record["model"]
    return found


def _told(model: Mapping[str, Any], key: str) -> Any:
    """Return what a record says of its training, None where it does not say; of a selection only the rule."""
    found = model.get(key)
    return found.get("rule") if key == "selection" and isinstance(found, Mapping) else found


def _refuse_difference(side: str, what: str, values: Sequence[Any]) -> None:
    known = [value for value in values if value is not None]
    other = next((value for value in known if value != known[0]), None)
    if other is None:
        return
    raise BadInput(
        f"the {side} runs of the pairs differ in {what} ({_difference(known[0], other)[:160]}); each side is one "
        "method, trained alike but for the seed."
    )


def _difference(one: Any, other: Any) -> str:
    if not isinstance(one, Mapping) or not isinstance(other, Mapping):
        return f"{one} against {other}"
    keys = [key for key in {**one, **other} if one.get(key) != other.get(key)]
    return "; ".join(f"{key}={one.get(key)} against {other.get(key)}" for key in keys)
