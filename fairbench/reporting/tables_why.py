"""The tables of a diagnosis: class by class, correlations, rankings, gains, superclasses and temperatures."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from fairbench.metrics.diagnosis import Diagnosis, Ranking
from fairbench.metrics.flows import Edge
from fairbench.outcomes import NATURAL
from fairbench.reporting.plots_classes import class_order
from fairbench.reporting.table import TO, Cell, Column, Table, number, percent

_MINUS = "\u2212"


def why_table(found: Diagnosis, names: Sequence[str], stem: str, label: str) -> Table:
    """Return one row per class, the lowest first: where its samples go, from where it attracts, what goes along."""
    extra = [one for one in found.correlates if one.key != "natural_accuracy"]
    columns = (
        Column("class", text=True), Column("n"), Column("natural %"), Column("robust %"), Column("wrong"),
        Column("of those before"), Column("go mostly to", text=True), Column("attracts"),
        Column("mostly from", text=True), *(Column(one.words.replace("its ", "")) for one in extra),
    )  # fmt: skip
    order = class_order([None if math.isnan(a) else a for a in found.robust.tolist()])
    rows = []
    for c in [*order, *sorted(set(range(len(names))) - set(order))]:
        flow = found.flows
        cells = [
            Cell(names[c]), Cell(str(found.count[c])), Cell(_percent(found.natural[c])),
            Cell(_percent(found.robust[c])), Cell(str(flow.sent[c])), Cell(_whole(found.already_wrong[c])),
            _edge(flow.main_target(c), names, target=True), Cell(str(flow.received[c])),
            _edge(flow.main_source(c), names, target=False),
        ]  # fmt: skip
        for one in extra:
            value, (low, high) = one.values[c], one.interval[c]
            cells.append(Cell(_number(value), _number(low), _number(high)))
        rows.append(tuple(cells))
    notes = [
        "“Go mostly to” and “mostly from” with images; intervals are 95 %, of the mean margin over the class's images."
    ]
    if found.classifier:
        notes.append(f"No norm of classifier weights: {found.classifier}.")
    return Table(f"{stem}-why", f"Class by class under {found.attack}, {label}", columns, tuple(rows), tuple(notes))


def correlates_table(found: Diagnosis, stem: str, label: str) -> Table:
    """Return the rank correlations of class robustness."""
    columns = (Column("goes along with", text=True), Column("Kendall's tau"), Column("p"), Column("classes"))
    rows = [
        (
            Cell(one.words),
            Cell(_number(c.tau), _number(c.low), _number(c.high)),
            Cell(_p(c.p)),
            Cell(str(c.points)),
        )
        for one in found.correlates
        for c in [one.correlation]
    ]
    notes = (
        "Each class is one point: limits (95 %) and p say how much that many points can decide. Accuracies and margins "
        "are from the same images, whose noise they share.",
    )
    caption = f"What robustness under {found.attack} goes along with, {label}"
    return Table(f"{stem}-correlations", caption, columns, tuple(rows), notes)


def rankings_table(rankings: Sequence[Ranking], name: str, caption: str) -> Table:
    """Return how far pairs of attacks, or of runs, rank the classes alike."""
    columns = (
        Column("one", text=True), Column("other", text=True), Column("Kendall's tau"), Column("same order"),
        Column("opposite"), Column("not decided"),
    )  # fmt: skip
    rows = tuple(
        (
            Cell(one.first), Cell(one.second), Cell(_number(a.tau), _number(a.low), _number(a.high)),
            Cell(str(a.same)), Cell(str(a.opposite)), Cell(str(a.undecided)),
        )
        for one in rankings
        for a in [one.agreement]
    )  # fmt: skip
    notes = (
        "Pairs of classes whose order is known under both, with 95 % for all together. The limits of tau count every "
        "other pair as opposite, or as same.",
    )
    return Table(name, caption, columns, rows, notes)


def gains_table(found: Diagnosis, names: Sequence[str], stem: str, label: str) -> Table:
    """Return what the strongest attack takes from each class beyond each weaker one."""
    columns = [Column("class", text=True)]
    for one in found.gains:
        columns += [Column("points", f"beyond {one.weaker}"), Column("of what was left %", f"beyond {one.weaker}"),
                    Column("p (Holm)", f"beyond {one.weaker}")]  # fmt: skip
    rows = []
    first = found.gains[0].share
    for c in sorted(range(len(names)), key=lambda c: (-np.nan_to_num(first[c], nan=-1.0), c)):
        row = [Cell(names[c])]
        for one in found.gains:
            low, high = one.interval[c]
            row += [
                Cell(_points(one.points[c])),
                Cell(_percent(one.share[c]), _percent(low), _percent(high)),
                Cell(_p(one.p_holm[c])),
            ]
        rows.append(tuple(row))
    notes = (
        "Points: fall of the class accuracy. Of what was left: the share of the weaker attack's survivors that falls, "
        "with Wilson's 95 % interval.",
    )
    caption = f"Which classes {found.attack} gains on, {label}"
    return Table(f"{stem}-gains", caption, tuple(columns), tuple(rows), notes)


def superclass_table(found: Diagnosis, stem: str, label: str) -> Table:
    """Return, for each superclass, how much of it is predicted within it, and where the rest goes."""
    kin, groups = found.kin, found.superclasses
    assert kin is not None
    assert groups is not None
    columns = (
        Column("superclass", text=True), Column("classes"), Column("images"), Column("predicted within it %"),
        Column("rest goes mostly to", text=True),
    )  # fmt: skip
    rows = []
    for place in sorted(range(len(groups.names)), key=lambda s: (np.nan_to_num(kin.accuracy[s], nan=2.0), s)):
        others = kin.confusion[place].copy()
        others[place] = 0
        most = int(others.argmax())
        rows.append(
            (
                Cell(groups.names[place]),
                Cell(str(groups.of_class.count(place))),
                Cell(str(kin.confusion[place].sum())),
                Cell(_percent(kin.accuracy[place])),
                Cell(groups.names[most] if others.any() else "", remark=str(others[most]) if others.any() else ""),
            )
        )
    note = (
        f"{kin.within} of {kin.errors} errors stay within the superclass: {_percent(kin.share)} % "
        f"({_percent(kin.interval[0])}{TO}{_percent(kin.interval[1])}); spread evenly over the others they would "
        f"in {_percent(kin.if_spread)} %."
    )
    return Table(f"{stem}-superclasses", f"Superclasses under {found.attack}, {label}", columns, tuple(rows), (note,))


def temperatures_table(found: Diagnosis, stem: str, label: str) -> Table:
    """Return the sweep: accuracy and gain over PGD of the same budget, one row for each T."""
    columns = (
        Column("T"), Column("average %"), Column("worst class %"), Column("gain over PGD"), Column("only T breaks"),
        Column("only PGD breaks"),
    )  # fmt: skip
    rows = []
    for one in found.temperatures:
        pairs, change = one.gain.pairs, one.gain.average
        rows.append(
            (
                Cell(f"{one.temperature:g}"),
                Cell(percent(float((pairs.both + pairs.gained).sum() / pairs.count.sum()))),
                Cell(_percent(float(np.nanmin(pairs.after)))),
                Cell(_points(change.value), _points(change.low), _points(change.high)),
                Cell(str(pairs.lost.sum())),
                Cell(str(pairs.gained.sum())),
            )
        )
    plain = ", ".join(dict.fromkeys(one.gain.weaker for one in found.temperatures))
    notes = (
        f"Against {plain}: the same steps, step size, start and restarts; gains in points, intervals 95 %. T divides "
        "the logits. The best of several T is picked after the fact: compare it with PGD of as many restarts.",
    )
    return Table(f"{stem}-temperatures", f"Temperature-PGD, {label}", columns, tuple(rows), notes)


def temperature_classes_table(found: Diagnosis, names: Sequence[str], stem: str, label: str) -> Table:
    """Return rows = classes, columns = T: gain over PGD in points."""
    columns = (
        Column("class", text=True),
        *(Column(f"T = {one.temperature:g}", "gain over PGD, points") for one in found.temperatures),
    )
    rows = tuple(
        (Cell(name), *(Cell(_points(one.gain.points[c])) for one in found.temperatures)) for c, name in enumerate(names)
    )
    return Table(f"{stem}-temperature-classes", f"Temperature-PGD, class by class, {label}", columns, rows)


def diagnosis_tables(found: Diagnosis, names: Sequence[str], stem: str, label: str) -> list[Table]:
    """Return every table of a diagnosis that has something in it."""
    tables = [why_table(found, names, stem, label)]
    if found.correlates:
        tables.append(correlates_table(found, stem, label))
    if found.rankings:
        caption = f"Do the attacks rank the classes alike, {label}"
        shown = [one for one in found.rankings if one.first == NATURAL] + [
            one for one in found.rankings if one.first != NATURAL
        ]
        tables.append(rankings_table(shown, f"{stem}-rankings", caption))
    if found.gains:
        tables.append(gains_table(found, names, stem, label))
    if found.kin is not None:
        tables.append(superclass_table(found, stem, label))
    if found.temperatures:
        tables.append(temperatures_table(found, stem, label))
        tables.append(temperature_classes_table(found, names, stem, label))
    return tables


def _edge(edge: Edge | None, names: Sequence[str], *, target: bool) -> Cell:
    return Cell("") if edge is None else Cell(names[edge.target if target else edge.source], remark=str(edge.count))


def _percent(value: float) -> str:
    return "" if math.isnan(value) else percent(float(value))


def _number(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.2f}".replace("-", _MINUS)


def _p(value: float) -> str:
    return "" if math.isnan(value) else number(float(value)) if value >= 0.001 else "<0.001"


def _points(value: float) -> str:
    return "" if math.isnan(value) else f"{round(100 * float(value), 1) + 0.0:.1f}".replace("-", _MINUS)


def _whole(value: float) -> str:
    return "" if math.isnan(value) else str(int(value))
