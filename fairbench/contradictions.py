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
    example lies within the radius; what one part of a cascade broke stays broken in those after it, as what nature
    broke does; and the verdicts of the last part are the cascade's.

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
        parts = resolved.get("parts") if isinstance(resolved, Mapping) else None
        if parts is not None and not isinstance(parts, Mapping):
            return f"run.json, whose {attack[:60]!r} has the parts {str(parts)[:60]}, but parts are an object"
        order = [name for name in (*(f"{attack}/{part}" for part in parts or ()), attack) if name in outcomes.attacks]
        for before, after in pairwise([name for name in (NATURAL, *order) if name in outcomes.attacks]):
            if len(order) > 1 and (said := _against(outcomes, before, after, attack)) is not None:
                return f"itself: {said}"
    return None


def _against(outcomes: Outcomes, before: str, after: str, attack: str) -> str | None:
    """Return what is wrong with the rows of one part after those of another, or of the cascade after its last part."""
    if not np.array_equal(outcomes.of(before)["index"], outcomes.of(after)["index"]):
        return f"{before[:60]!r} and {after[:60]!r} saw different samples"
    first, second = outcomes.robust(before), outcomes.robust(after)
    if (returned := int((~first & second).sum())) > 0:
        return f"{returned} samples broken under {before[:60]!r} are robust under {after[:60]!r}"
    if after == attack and before != NATURAL and (lost := int((first & ~second).sum())) > 0:
        return f"{lost} samples robust under the last part, {before[:60]!r}, are broken under {after[:60]!r}"
    return None
