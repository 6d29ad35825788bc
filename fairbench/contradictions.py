"""What no evaluation can write: tables that contradict themselves, or the record beside them."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np

from fairbench.errors import BadInput
from fairbench.outcomes import NATURAL, Outcomes
from fairbench.threat import with_rounding


def refuse_contradictions(outcomes: Outcomes, record: Mapping[str, Any], *, where: str) -> None:
    """Check a table against the rules that every evaluation obeys; an edited or mixed-up one breaks them.

    The labels and predictions are classes of the record; each attack is one of the record's, or a part of one; every
    example lies within the radius; and what one part of a cascade broke stays broken in those after it and in the
    cascade itself, as what nature broke does.

    Args:
        outcomes: the table.
        record: run.json.
        where: the table's place, for the message.

    Raises:
        BadInput: the first rule that is broken, and where.
    """
    found = _first(outcomes, record)
    if found is not None:
        raise BadInput(f"{where} contradicts {found}; do not use its numbers, evaluate again.")


def _first(outcomes: Outcomes, record: Mapping[str, Any]) -> str | None:
    attacks = record.get("attacks") or {}
    known = {*attacks, NATURAL}
    for name in outcomes.attacks:
        if name not in known and name.rpartition("/")[0] not in known:
            return f"run.json, which has no attack {name[:60]!r}"
    count = (record.get("dataset") or {}).get("num_classes")
    codes = outcomes.frame[["label", "prediction"]].to_numpy()
    if count is not None and codes.size and not (codes.min() >= 0 and codes.max() < count):
        return f"run.json: it has labels or predictions outside the {count} classes"
    eps = (record.get("threat") or {}).get("eps")
    far = outcomes.frame["distance"].max()
    if eps is not None and far > with_rounding(float(eps)):
        return f"run.json: an example lies {far:.6g} from its image, but eps is {eps:.6g}"
    for attack, resolved in attacks.items():
        parts = [f"{attack}/{part}" for part in (resolved.get("parts") or {})] if isinstance(resolved, Mapping) else []
        order = [name for name in (NATURAL, *parts, attack) if name in outcomes.attacks] if parts else []
        for before, after in pairwise(order):
            returned = _returned(outcomes, before, after)
            if returned:
                return f"itself: {returned} samples broken under {before[:60]!r} are robust under {after[:60]!r}"
    return None


def _returned(outcomes: Outcomes, before: str, after: str) -> int:
    first, second = outcomes.of(before), outcomes.of(after)
    rows = np.isin(first["index"].to_numpy(), second["index"].to_numpy())
    broken = (first["prediction"] != first["label"]).to_numpy()[rows]
    shared = np.isin(second["index"].to_numpy(), first["index"].to_numpy())
    robust = (second["prediction"] == second["label"]).to_numpy()[shared]
    return int((broken & robust).sum())
