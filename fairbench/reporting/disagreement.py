"""Tables and sentences about rows in which two tables of one model disagree, and about what 8 bits leave of a run."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from fairbench.metrics.disagreement import Difference
from fairbench.metrics.eight_bit import EightBit
from fairbench.outcomes import Outcomes
from fairbench.reporting.attack_names import in_order
from fairbench.reporting.table import Cell, Column, Table
from fairbench.runs import Run
from fairbench.threat import Threat


def difference_table(found: Sequence[Difference], class_names: Sequence[str], *, before: str, after: str) -> Table:
    """Return one row per difference; `before` and `after` head the columns of the two tables' values."""
    columns = (
        Column("attack", text=True), Column("index"), Column("class", text=True), Column(before, text=True),
        Column(after, text=True),
    )  # fmt: skip
    rows = tuple(
        (
            Cell(one.attack), Cell(str(one.index)), Cell(_class(one.label, class_names)),
            Cell(_words(one, one.before, class_names)), Cell(_words(one, one.after, class_names)),
        )
        for one in found
    )  # fmt: skip
    return Table("differences", "Differences", columns, rows)


def eight_bit_table(rebuilt: Outcomes, found: Sequence[Difference], counts: Mapping[str, EightBit], run: Run) -> Table:
    """Return one row per attack and part: rows of the rebuilt table, those that agree, and the effect of rounding."""
    columns = (
        Column("attack", text=True), Column("rows"), Column("agree"), Column("adversarial"),
        Column("still", group="at 8 bits"), Column("in the ball", group="at 8 bits"), Column("both", group="at 8 bits"),
    )  # fmt: skip
    rows = []
    for attack in in_order(rebuilt.attacks, run.record["attacks"]):
        size = len(rebuilt.of(attack))
        # A row that only the run's table holds has no counterpart here to agree with.
        wrong = sum(one.attack == attack and not (one.column == "row" and one.after is None) for one in found)
        eight = counts.get(attack)
        values = ["", "", "", ""] if eight is None else [eight.adversarial, eight.still, eight.inside, eight.both]
        rows.append(tuple(Cell(str(value)) for value in (attack, size, size - wrong, *values)))
    return Table("verify", "Verification", columns, tuple(rows))


def eight_bit_sentence(counts: Mapping[str, EightBit], attacks: Sequence[str], threat: Threat) -> str:
    """Say what rounding to 8 bits leaves of the examples of `attacks`, a cascade's parts counted once.

    Examples that leave the radius do so by the rounding alone: those of the run were proven to be within it.
    """
    chosen = [counts[attack] for attack in attacks if attack in counts]
    total, still, inside, both = (
        sum(getattr(one, name) for one in chosen) for name in ("adversarial", "still", "inside", "both")
    )
    rounded = f"Rounded to 8 bits (pixels n/255), {still} of {total} adversarial examples stay adversarial"
    if inside == total:
        return f"{rounded}, and all {total} stay within the radius."
    return (
        f"{rounded}. {total - inside} leave the radius by this rounding alone, which is no fault of the run, whose "
        f"examples are all within it: {_why_rounding_leaves(threat)}. {both} of {total} stay both adversarial and "
        "within the radius."
    )


def _why_rounding_leaves(threat: Threat) -> str:
    """Return why pixels rounded to n/255 leave the radius, and by how much.

    In Linf a change of at most r/255 of a pixel n/255 becomes one of at most round(r)/255, halves rounded either way.
    """
    steps = threat.eps * 255
    beyond = math.floor(steps + 0.5 + 1e-9) - steps
    if threat.norm == "Linf" and beyond > 1e-6:
        return (
            f"eps = {threat.eps_text} is {steps:.4g}/255, no whole number of steps of 1/255, so that rounding takes a "
            f"pixel up to {beyond:.2g}/255 beyond it"
        )
    return f"rounding moves each pixel by up to 0.5/255, wherever in the {threat.norm} ball an example lies"


def flip_sentence(found: Sequence[Difference], again: Outcomes) -> str:
    """Say how many verdicts of a run flipped when it was repeated; `again` is the new table."""
    flips = [one for one in found if one.flipped]
    lost = sum(one.before == one.label for one in flips)
    moved = sum(one.column == "prediction" and not one.flipped for one in found)
    others = f" {moved} more predictions moved from one wrong class to another." if moved else ""
    if not flips:
        return f"Reproduced: none of {len(again)} verdicts over {len(again.attacks)} attacks flipped.{others}"
    return (
        f"{len(flips)} of {len(again)} verdicts over {len(again.attacks)} attacks flipped: {lost} were robust only in "
        f"the run, {len(flips) - lost} only in the repetition.{others}"
    )


def surroundings(mine: Mapping[str, Any], theirs: Mapping[str, Any]) -> str:
    """Return in words in which surroundings two records differ, that can round a float differently; "" in none."""
    found = []
    for key in ("device", "threads", "commit"):
        found.append((key, theirs.get(key), mine.get(key)))
    # Of a published model: the package that built the network, and its version.
    found.append(("source", *(record.get("model", {}).get("source") for record in (theirs, mine))))
    versions = [record.get("versions", {}) for record in (theirs, mine)]
    found += [(name, versions[0].get(name), versions[1].get(name)) for name in {**versions[0], **versions[1]}]
    found.append(("processor", *(record.get("hardware", {}).get("processor") for record in (theirs, mine))))
    return "; ".join(f"{key} {before}, now {after}" for key, before, after in found if before != after)


def _class(label: int, class_names: Sequence[str]) -> str:
    return class_names[label] if 0 <= label < len(class_names) else str(label)


def _words(one: Difference, value: float | None, class_names: Sequence[str]) -> str:
    if one.column in ("row", "label", "prediction"):
        if value is None:
            return "no row"
        name = _class(int(value), class_names)
        if one.column == "label":
            return f"label {name}"
        return f"robust ({name})" if int(value) == one.label else f"broken ({name})"
    return f"{one.column} {'null' if value is None else f'{value:.6g}'}"
