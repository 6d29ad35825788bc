"""The tables of a report: comparisons shaped like the papers', classes, confusions, parts of a cascade, provenance."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

from fairbench.outcomes import NATURAL
from fairbench.reporting.plots_classes import class_order
from fairbench.reporting.plots_one_run import confusions
from fairbench.reporting.plots_training_classes import ClassSeries
from fairbench.reporting.table import Cell, Column, Table, mark_best, number, percent, percent_cell
from fairbench.reporting.view import RunView, SampleSet
from fairbench.reporting.words import probability

IF_EQUAL_NOTE = (
    "Worst with its class and 95 % interval; SD: standard deviation over classes, in points; NSD: SD / mean over "
    "classes; Equal, SD equal, NSD equal: the worst class, SD and NSD that these image counts would show on average if "
    "all classes were equal."
)
OWN_INTERVAL_NOTE = (
    "Intervals are Wilson's 95 % for each class by itself; as 'worst class' the lowest one has another interval, which "
    "allows for its having been picked as the lowest."
)
TOGETHER_NOTE = (
    "All at once: exact 95 % limits (Sidak) that hold for all classes together, to be read where several classes are "
    "looked at or picked out."
)
BEST_NOTE = "Bold: best of the column, which is not a test; 'fairbench compare' tests two runs on the same images."


def papers_table(sample_set: SampleSet) -> Table:
    """Return rows = runs, columns = attack x {average, worst, SD, NSD}; accuracies in %, the best marked.

    Beside worst, SD and NSD stands what each would be if all classes were equal.
    """
    columns = [Column("Model", text=True)]
    for attack in sample_set.attacks:
        group = _attack_head(sample_set, attack)
        columns += [
            Column("Avg", group, better="higher"), Column("Worst", group, better="higher"), Column("Equal", group),
            Column("SD", group, better="lower"), Column("SD equal", group),
            Column("NSD", group, better="lower"), Column("NSD equal", group),
        ]  # fmt: skip
    rows = []
    for view in sample_set.views:
        row = [Cell(view.label)]
        for attack in sample_set.attacks:
            row += _summary(view, attack) if attack in view.attacks else [Cell("")] * 7
        rows.append(row)
    notes = (IF_EQUAL_NOTE, *((BEST_NOTE,) if len(rows) > 1 else ()))
    caption = f"{sample_set.samples}, {sample_set.threat}"
    return Table(f"{sample_set.key}-comparison", caption, tuple(columns), mark_best(columns, rows), notes)


def attack_tables(table: Table) -> tuple[Table, ...]:
    """Return a papers' table as one narrow table per attack, called after it: the same cells, without notes."""
    found: list[Table] = []
    start = 1
    for group, width in table.groups[1:]:
        kept = (0, *range(start, start + width))
        columns = tuple(replace(table.columns[place], group="") for place in kept)
        rows = tuple(tuple(row[place] for place in kept) for row in table.rows)
        # An attack that a run lacks has no row of dashes here.
        rows = tuple(row for row in rows if any(cell.text for cell in row[1:]))
        found.append(Table(f"{table.name}-{len(found) + 1}", group, columns, rows))
        start += width
    return tuple(found)


def summary_table(sets: Sequence[SampleSet]) -> Table:
    """Return one row per run and attack, which fits a terminal; the samples have a column where they differ."""
    several = len(sets) > 1
    columns = (
        Column("model", text=True), *((Column("samples", text=True),) if several else ()), Column("attack", text=True),
        Column("n"), Column("average %"), Column("worst class %"), Column("if equal %"), Column("is worst with"),
        Column("SD"), Column("SD if equal"), Column("NSD"), Column("NSD if equal"),
    )  # fmt: skip
    rows = []
    for sample_set in sets:
        for view in sample_set.views:
            for attack in view.attacks:
                sure = probability(view.of(attack)["worst_class"]["probability"])
                average, worst, equal, *spread = _summary(view, attack)
                head = [Cell(view.label), *([Cell(view.short)] if several else []), Cell(attack)]
                rows.append((*head, Cell(str(view.count(attack))), average, worst, equal, Cell(sure), *spread))
    first = sets[0]
    caption = f"Robustness per class, {len(sets)} sets of samples" if several else f"{first.samples}, {first.threat}"
    return Table("summary", f"{caption}; intervals 95 %", columns, tuple(rows))


def attacks_table(view: RunView) -> Table:
    """Return one row per attack of a run: average, worst class and SD, with intervals; narrow but for long names."""
    columns = (
        Column("attack", text=True), Column("average %"), Column("worst class %"), Column("if equal %"),
        Column("is worst with"), Column("SD"), Column("SD if equal"),
    )  # fmt: skip
    rows = []
    for attack in view.attacks:
        average, worst, equal, std, std_equal, *_ = _summary(view, attack)
        sure = Cell(probability(view.of(attack)["worst_class"]["probability"]))
        rows.append((Cell(attack), average, worst, equal, sure, std, std_equal))
    notes = ("If equal: the lowest and the SD of equal classes, on average, by chance. SD: over classes, in points.",)
    return Table("attacks", "Average, worst class and spread; intervals 95 %", columns, tuple(rows), notes)


def brief_table(sample_set: SampleSet, attack: str) -> Table:
    """Return one row per run that fits 80 columns: natural average, and average and worst class under one attack."""
    columns = (
        Column("model", text=True), Column("natural %"), Column(f"{attack} %"), Column(f"{attack} worst class %"),
        Column("if equal %"),
    )  # fmt: skip
    rows = []
    for view in sample_set.having(attack):
        average, worst, equal, *_ = _summary(view, attack)
        natural = view.of(NATURAL)["average"] if NATURAL in view.attacks else None
        rows.append((Cell(view.label), percent_cell(natural), Cell(average.text), worst, equal))
    notes = (
        "Worst class: accuracy, name and 95 % interval.",
        "If equal: the lowest of equal classes, on average, by chance alone.",
    )
    return Table("brief", f"{sample_set.samples}, {sample_set.threat}", columns, tuple(rows), notes)


def classes_table(view: RunView, stem: str) -> Table:
    """Return rows = classes, the lowest under the strongest attack first; accuracy with Wilson's 95 % interval.

    The last column has the limits that hold for all classes together, under the strongest attack: one column for each
    attack would double the table. metrics.json has them all.
    """
    attacks = view.attacks
    order = class_order(view.of(view.strongest)["class_accuracy"])
    absent = sorted(set(range(len(view.class_names))) - set(order))
    columns = [
        Column("class", text=True), Column("n"), *(Column(f"{attack} %") for attack in attacks),
        Column(f"{view.strongest} %, all at once"),
    ]  # fmt: skip
    count, together = (view.of(view.strongest)[name] for name in ("class_count", "class_interval_simultaneous"))
    values = [(view.of(attack)["class_accuracy"], view.of(attack)["class_interval"]) for attack in attacks]
    rows = []
    for c in [*order, *absent]:
        cells = [percent_cell(accuracy[c], interval[c]) for accuracy, interval in values]
        rows.append((Cell(view.class_names[c]), Cell(str(count[c])), *cells, percent_cell(None, together[c])))
    notes = [OWN_INTERVAL_NOTE, TOGETHER_NOTE]
    others = [a for a in attacks if view.of(a)["class_count"] != view.of(view.strongest)["class_count"]]
    if others:
        notes.append(f"n counts the images of {view.strongest}; {', '.join(others)} saw others.")
    return Table(
        f"{stem}-classes", f"Accuracy per class, {view.label}, {view.short}", tuple(columns), tuple(rows), tuple(notes)
    )


def class_run_table(sample_set: SampleSet, attack: str) -> Table:
    """Return rows = classes, columns = runs, accuracy in % under one attack."""
    views = sample_set.having(attack)
    columns = (Column("class", text=True), *(Column(view.label) for view in views))
    rows = tuple(
        (
            Cell(name),
            *(percent_cell(v.of(attack)["class_accuracy"][c], v.of(attack)["class_interval"][c]) for v in views),
        )
        for c, name in enumerate(views[0].class_names)
    )
    caption = f"Accuracy per class in % under {attack}, {sample_set.samples}"
    notes = (f"{OWN_INTERVAL_NOTE} Each run's own table has limits for all classes together.",)
    return Table(f"{sample_set.key}-class-by-run", caption, columns, rows, notes)


def confusion_table(view: RunView, attack: str, stem: str, limit: int = 40) -> Table:
    """Return the largest confusions under an attack: where a class's samples go."""
    columns = (Column("true class", text=True), Column("predicted", text=True), Column("images"), Column("share %"))
    found = confusions(view, attack)
    rows = tuple(
        (Cell(view.class_names[c]), Cell(view.class_names[k]), Cell(str(count)), Cell(percent(share)))
        for c, k, count, share in found[:limit]
    )
    notes = (f"The {limit} largest of {len(found)}.",) if len(found) > limit else ()
    return Table(f"{stem}-confusion", f"Confusions under {attack}, {view.label}, {view.short}", columns, rows, notes)


def parts_table(view: RunView, attack: str, stem: str) -> Table:
    """Return the robust accuracy left after each part of a cascade."""
    columns = (Column("after", text=True), Column("average %"), Column("worst class %"), Column("worst if equal %"))
    rows = []
    for part in view.parts(attack):
        average, worst, equal, *_ = _summary(view, part)
        rows.append((Cell(part), average, worst, equal))
    return Table(
        f"{stem}-parts", f"{attack} part by part (cumulative), {view.label}, {view.short}", columns, tuple(rows)
    )


def parts_by_class_table(view: RunView, attack: str, stem: str) -> Table:
    """Return rows = classes, the lowest first; columns = natural accuracy, what each part takes from it, what is left.

    In percentage points of the class's images: a row adds up, but for rounding.
    """
    parts = view.parts(attack)
    columns = (
        Column("class", text=True), Column("natural %"),
        *(Column(part.removeprefix(f"{attack}/")) for part in parts), Column("robust %"),
    )  # fmt: skip
    rows = []
    for c in class_order(view.of(attack)["class_accuracy"]):
        left = [view.of(name)["class_accuracy"][c] for name in (NATURAL, *parts)]
        taken = [
            Cell(f"-{100 * (before - after):.1f}" if before > after else "0.0") for before, after in pairwise(left)
        ]
        rows.append((Cell(view.class_names[c]), Cell(percent(left[0])), *taken, Cell(percent(left[-1]))))
    caption = f"What each part of {attack} adds per class, {view.label}, {view.short}"
    notes = ("Points of the class's images that a part broke after the parts on its left had not.",)
    return Table(f"{stem}-parts-by-class", caption, columns, tuple(rows), notes)


def training_table(log: Sequence[Mapping[str, Any]], label: str, stem: str) -> Table:
    """Return one row per epoch: learning rate, loss, and validation average and worst class."""
    attacks = list(dict.fromkeys(name for entry in log for name in entry.get("validation") or {}))
    columns = [Column("epoch"), Column("lr"), Column("loss")]
    columns += [Column(head, name) for name in attacks for head in ("average %", "worst class %")]
    rows = []
    for entry in log:
        validation = entry.get("validation") or {}
        row = [
            Cell(str(entry["epoch"])),
            Cell(number(entry.get("lr"), 5)),
            Cell(number((entry.get("loss") or {}).get("total"))),
        ]
        for name in attacks:
            row += [Cell(percent(validation.get(name, {}).get(key))) for key in ("average", "worst_class")]
        rows.append(tuple(row))
    return Table(f"{stem}-training", f"Training, {label}", tuple(columns), tuple(rows))


def class_series_table(series: Sequence[ClassSeries], view: RunView, stem: str) -> Table:
    """Return each class's values in a training log at the first and at the last logged epoch."""
    columns = [Column("class", text=True)]
    for one in series:
        columns += [Column(f"epoch {epoch}", one.title) for epoch in (one.epochs[0], one.epochs[-1])]
    rows = tuple(
        (Cell(class_name), *(Cell(_known(one.values[end, c])) for one in series for end in (0, -1)))
        for c, class_name in enumerate(view.class_names)
    )
    notes = tuple(f"{one.title}: {one.axis}." for one in series if one.axis != one.title)
    return Table(f"{stem}-class-state", f"Per class during training, {view.label}", tuple(columns), rows, notes)


def _known(value: float) -> str:
    return "" if math.isnan(value) else number(float(value))


def _summary(view: RunView, attack: str) -> list[Cell]:
    """Return average, worst class, worst if equal, SD, SD if equal, NSD and NSD if equal of one attack."""
    metrics = view.of(attack)
    equal = {name: found["expected"] for name, found in metrics["if_equal"].items()}
    worst, limits = metrics["worst_class"], metrics["interval"]
    std = percent_cell(metrics["std"], limits.get("std"))
    spread = limits.get("normalized_std") or (None, None)
    normalized = Cell(number(metrics["normalized_std"]))
    if None not in spread and normalized.text:
        normalized = Cell(normalized.text, number(spread[0]), number(spread[1]))
    return [
        percent_cell(metrics["average"], limits.get("average")),
        percent_cell(worst["accuracy"], limits.get("worst_class"), remark=view.class_names[worst["index"]]),
        percent_cell(equal["worst_class"]),
        std,
        percent_cell(equal["std"]),
        normalized,
        Cell(number(equal["normalized_std"])),
    ]


def _attack_head(sample_set: SampleSet, attack: str) -> str:
    """Return the attack's name, with the number of images where it saw other ones than the natural row."""
    counts = {view.count(attack) for view in sample_set.having(attack)}
    usual = {view.count(NATURAL) for view in sample_set.views if NATURAL in view.attacks}
    return attack if counts == usual or not usual else f"{attack} (n = {'/'.join(str(n) for n in sorted(counts))})"
