"""The tables that say where numbers come from: samples and settings of each attack, flags, provenance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fairbench.outcomes import NATURAL
from fairbench.reporting.table import Cell, Column, Table
from fairbench.reporting.table_formats import plain
from fairbench.reporting.view import RunView, SampleSet

OUR_RADIUS = "The radius of 0.1 for digits is fairbench's own choice; there are no published figures to compare with."


def samples_table(sets: Sequence[SampleSet]) -> Table:
    """Return which samples each attack of each run saw: how many, how many per class, and how they were chosen."""
    columns = (
        Column("model", text=True), Column("run", text=True), Column("attack", text=True), Column("images"),
        Column("per class"), Column("selection", text=True), Column("data set", text=True), Column("radius", text=True),
        Column("settings", text=True),
    )  # fmt: skip
    rows = []
    for sample_set in sets:
        for view in sample_set.views:
            dataset = view.record["dataset"]
            for attack in view.attacks:
                rows.append((
                    Cell(view.model), Cell(plain(view.run.name)), Cell(attack), Cell(str(view.count(attack))),
                    Cell(view.per_class(attack)), Cell(_say(dataset.get("selection", "all"))),
                    Cell(f"{_say(dataset['name'])} {_say(dataset['split'])}"),
                    Cell("none" if attack == NATURAL else sample_set.threat), Cell(_settings(view, attack)),
                ))  # fmt: skip
    notes = (OUR_RADIUS,) if any(one.record["dataset"]["name"] == "digits" for one in sets) else ()
    return Table("samples", "Which samples each attack saw", columns, tuple(rows), notes)


def shared_samples_table(table: Table) -> Table:
    """Return `samples_table` for a page: what several runs share is said once, with the runs that share it."""
    runs = list(dict.fromkeys(row[1].text for row in table.rows))
    shared: dict[tuple[Cell, ...], list[str]] = {}
    for row in table.rows:
        shared.setdefault(row[2:], []).append(row[1].text)
    rows = tuple(
        (*cells[:-1], Cell(f"all {len(runs)}" if len(runs) > 1 and own == runs else ", ".join(own)), cells[-1])
        for cells, own in shared.items()
    )
    columns = (*table.columns[2:-1], Column("runs", text=True), table.columns[-1])
    return Table("shared-samples", "Each attack: the images it saw and its settings", columns, rows, table.notes)


def flags_table(sets: Sequence[SampleSet]) -> Table:
    """Return every flag: signs that a number may be too good, with evidence and advice."""
    columns = tuple(
        Column(head, text=True) for head in ("model", "run", "flag", "severity", "class", "evidence", "advice")
    )
    rows = []
    for sample_set in sets:
        for view in sample_set.views:
            for flag in view.flags:
                told = [_say(flag.get(key)) for key in ("name", "severity", "class", "evidence", "advice")]
                if isinstance(flag.get("class"), int) and 0 <= flag["class"] < len(view.class_names):
                    told[2] = view.class_names[flag["class"]]
                rows.append((Cell(view.model), Cell(plain(view.run.name)), *(Cell(text) for text in told)))
    return Table("flags", "Flags", columns, tuple(rows))


def provenance_tables(sets: Sequence[SampleSet]) -> list[Table]:
    """Return what all runs share (model, data, seeds, precision, versions, hardware, command), and where they differ.

    Hashes are whole where they are shared and 12 digits long where they differ; run.json holds them whole.
    """
    views = [view for sample_set in sets for view in sample_set.views]
    told = [_provenance(view) for view in views]
    fields = list(dict.fromkeys(name for one in told for name in one))
    shared = [name for name in fields if all(one.get(name) == told[0].get(name) for one in told)]
    differing = [name for name in fields if name not in shared]
    columns = (Column("field", text=True), Column("value", text=True))
    caption = "Provenance" if len(views) == 1 else "The same for all runs"
    found = [Table("provenance", caption, columns, tuple((Cell(name), Cell(told[0][name])) for name in shared))]
    if differing:
        rows = tuple(
            (Cell(plain(view.run.name)), *(Cell(_brief(name, one.get(name, ""))) for name in differing))
            for view, one in zip(views, told, strict=True)
        )
        heads = (Column("run", text=True), *(Column(name, text=True) for name in differing))
        found.append(Table("provenance-by-run", "Different between runs", heads, rows))
    return found


def one_run_tables(table: Table) -> tuple[Table, ...]:
    """Return the table of what differs between runs as one narrow table of field and value per run."""
    columns = (Column("field", text=True), Column("value", text=True))
    heads = [Cell(column.head) for column in table.columns[1:]]
    return tuple(
        Table(f"{table.name}-{place}", row[0].text, columns, tuple(zip(heads, row[1:], strict=True)))
        for place, row in enumerate(table.rows, start=1)
    )


def _brief(name: str, value: str) -> str:
    return value[:12] if name.endswith("sha256") else value


def _provenance(view: RunView) -> dict[str, str]:
    record = view.record
    model, dataset, versions = record["model"], record["dataset"], record.get("versions") or {}
    hardware = record.get("hardware") or {}
    told = {
        "model": model["name"], "model sha256": model.get("sha256"), "normalize": model.get("normalize"),
        "architecture": model.get("architecture"), "method": model.get("method"),
        "hyper-parameters": _pairs(model.get("hyper")), "training seed": model.get("seed"),
        "weights": _selection(model.get("selection")),
        "data set": f"{dataset['name']} {dataset['split']}, {dataset.get('selection', 'all')}",
        "data sha256": dataset.get("sha256"), "index sha256": dataset.get("index_sha256"),
        "threat": f"{record['threat']['norm']}, eps {record['threat'].get('eps_text', record['threat']['eps'])}",
        "engine": record.get("engine"), "precision": record.get("precision"), "device": record.get("device"),
        "block size": record.get("block_size"), "threads": record.get("threads"), "processes": record.get("processes"),
        "seeds": _pairs(record.get("seeds")), "checks overridden": _pairs(record.get("accepted")) or "none",
        "protocol": record.get("protocol"), "started": record.get("started"), "seconds": record.get("seconds"),
        "commit": record.get("commit"), "versions": _pairs(versions), "hardware": _pairs(hardware),
        "command": record.get("command"),
    }  # fmt: skip
    return {name: _say(value) for name, value in told.items() if value not in (None, "")}


def _selection(selection: Any) -> str:
    """Return which weights of a training were kept: "last, epoch 6, live"."""
    if not isinstance(selection, Mapping):
        return ""
    rule, epoch, deployed = (_say(selection.get(key)) for key in ("rule", "epoch", "deployed"))
    return ", ".join(part for part in (rule, f"epoch {epoch}" if epoch else "", deployed) if part)


def _settings(view: RunView, attack: str) -> str:
    resolved = view.record.get("attacks", {}).get(attack)
    if not isinstance(resolved, Mapping):
        return ""
    # The norm and the radius have a column of their own, and a cascade's parts are written as attacks are.
    own = {key: value for key, value in resolved.items() if key not in ("norm", "eps", "parts") and value is not None}
    parts = resolved.get("parts")
    told = [_pairs(own)]
    if isinstance(parts, Mapping):
        told += [f"{plain(str(name))}({_pairs(keywords)})" for name, keywords in parts.items()]
    return "; ".join(told)


def _pairs(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{plain(str(key))}={_say(item)}" for key, item in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(_say(item) for item in value)
    return _say(value)


def _say(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.6g}"
    return plain(_pairs(value) if isinstance(value, (Mapping, list, tuple)) else str(value))
