"""Where two outcome tables of the same samples disagree, row by row."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fairbench.outcomes import Outcomes

#: How far a recorded float may lie from the same float computed again, per unit of 1 + |value|: what another device or
#: number of threads may round away. Distances are sums of pixels, losses and margins go through the network.
TOLERANCE = {"linf": 1e-5, "distance": 1e-5, "loss": 1e-3, "margin": 1e-3}


@dataclass(frozen=True)
class Difference:
    """One row that differs, by the first column of `column` that does.

    Attributes:
        attack: of the row.
        index: the sample.
        label: its class; where the labels differ, that of the second table.
        column: "row" (it is in one table only), "label", "prediction", "linf", "distance", "loss" or "margin".
        before: the first table's value, None where it has no such row or the value is null.
        after: the second table's.
    """

    attack: str
    index: int
    label: int
    column: str
    before: float | None
    after: float | None

    @property
    def flipped(self) -> bool:
        """Whether the verdict is another one: robust in one table, broken in the other."""
        return self.column == "prediction" and (self.before == self.label) != (self.after == self.label)


def differences(before: Outcomes, after: Outcomes) -> tuple[Difference, ...]:
    """Return every row in which two tables differ, sorted by (attack, index).

    Predictions and labels must be equal, floats within `TOLERANCE`, and null where the other is null.
    """
    keys = ["attack", "index"]
    both = before.frame.merge(after.frame, on=keys, how="outer", suffixes=("_before", "_after"), indicator=True)
    both = both.sort_values(keys, kind="stable").reset_index(drop=True)
    column = np.full(len(both), "", dtype=object)
    # In reverse, so that the first column that differs is the one that is named.
    for name in reversed(("label", "prediction", *TOLERANCE)):
        mine = both[f"{name}_before"].to_numpy(dtype=np.float64)
        theirs = both[f"{name}_after"].to_numpy(dtype=np.float64)
        with np.errstate(invalid="ignore"):
            near = np.abs(mine - theirs) <= TOLERANCE.get(name, 0.0) * (1 + np.abs(theirs))
        near &= np.isfinite(theirs)
        column[~(near | (mine == theirs) | (np.isnan(mine) & np.isnan(theirs)))] = name
    column[(both["_merge"] != "both").to_numpy()] = "row"
    found = []
    for place in np.flatnonzero(column != ""):
        row, name = both.iloc[place], str(column[place])
        kind = "prediction" if name == "row" else name
        label = row["label_before"] if np.isnan(row["label_after"]) else row["label_after"]
        found.append(
            Difference(
                str(row["attack"]), int(row["index"]), int(label), name,
                _value(row[f"{kind}_before"]), _value(row[f"{kind}_after"]),
            )
        )  # fmt: skip
    return tuple(found)


def _value(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
