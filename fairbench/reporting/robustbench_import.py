"""RobustBench's published entries beside our runs: average numbers, since it publishes no others.

The entries are the folder `model_info` of RobustBench's repository (its PyPI package does not contain it). Ours stand
in a table with them where data set, norm and radius are the same; the class numbers are only ours.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fairbench.errors import BadInput
from fairbench.outcomes import NATURAL
from fairbench.reporting.leaderboard import ranked_sets
from fairbench.reporting.robustbench_export import dataset_name
from fairbench.reporting.table import Cell, Column, Table, percent
from fairbench.reporting.table_formats import markdown_escape, plain, to_markdown
from fairbench.reporting.view import RunView
from fairbench.runs import read_run, to_json
from fairbench.threat import parse_number
from fairbench.whole_file import writable_folder, write_whole

SCHEMA_VERSION = 1
_NORMS = ("Linf", "L2")
_COLUMNS = (
    Column("#"),
    Column("model", text=True),
    Column("from", text=True),
    Column("natural"),
    Column("AutoAttack"),
    Column("best known"),
    Column("worst class"),
    Column("images", text=True),
    Column("remark", text=True),
)


#: What RobustBench evaluates on.
_IMAGES = {"cifar10": "10000", "cifar100": "10000", "imagenet": "5000 chosen by it"}
_HEAD = """# Published by RobustBench, and evaluated here

Accuracies in %. Ranks are by the best known robust accuracy. RobustBench publishes averages only, so worst classes are
of our runs. A run is ranked only if it has AutoAttack on a whole test split.
"""


@dataclass(frozen=True)
class Published:
    """One published entry; accuracies are fractions, None where RobustBench gives none."""

    model: str
    dataset: str
    norm: str
    eps: str | None
    natural: float
    autoattack: float | None
    external: float | None
    unreliable: bool
    paper: str | None
    venue: str | None
    architecture: str | None

    @property
    def best_known(self) -> float | None:
        """RobustBench's own key for ranks: the best attack known, else AutoAttack."""
        return self.autoattack if self.external is None else self.external


def read_published(folder: Path) -> list[Published]:
    """Read model_info/<data set>/<norm>/<model>.json of both norms.

    Raises:
        BadInput: no entries in the folder, or one that RobustBench would not have written.
    """
    folder = Path(folder)
    paths = sorted(path for norm in _NORMS for path in folder.glob(f"*/{norm}/*.json"))
    if not paths:
        raise BadInput(
            f"{str(folder)[:150]} holds no entries <data set>/<norm>/<model>.json; give the folder model_info of a "
            "checkout: git clone https://github.com/RobustBench/robustbench."
        )
    return [_entry(path) for path in paths]


def _entry(path: Path) -> Published:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise BadInput(f"{str(path)[-150:]} is not JSON ({str(error)[:80]}); restore the file.") from error
    if not isinstance(found, dict):
        raise BadInput(f"{str(path)[-150:]} must be a JSON object, but is {type(found).__name__}; restore the file.")

    def text(key: str) -> str | None:
        value = found.get(key)
        return None if value in (None, "") else plain(str(value))

    natural = _fraction(path, found, "clean_acc")
    if natural is None:
        raise BadInput(f"{str(path)[-150:]} has no clean_acc, which every entry of RobustBench has; restore the file.")
    return Published(
        path.stem, path.parent.parent.name, path.parent.name, text("eps"), natural,
        _fraction(path, found, "autoattack_acc"), _fraction(path, found, "external"), found.get("unreliable") is True,
        text("name"), text("venue"), text("architecture"),
    )  # fmt: skip


def _fraction(path: Path, found: dict[str, Any], key: str) -> float | None:
    value = found.get(key)
    if value is None:
        return None
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = float("nan")
    if not 0 <= number <= 100:
        raise BadInput(f"{key} of {str(path)[-120:]} must be percent from 0 to 100, but is {str(value)[:40]!r}.")
    return number / 100


def import_robustbench(folder: Path, runs: Sequence[Path], out: Path) -> tuple[Path, Path]:
    """Write published.json and published.md into `out`: every published entry, our runs beside them.

    Raises:
        BadInput: unusable entries, or a folder without a finished run.
        WriteFailed: a later write failed.
    """
    published = read_published(folder)
    ours = [read_run(Path(run)) for run in dict.fromkeys(runs)]
    views = [view for one in ranked_sets(ours) for view in one.views] if ours else []
    tables = [_table(key, published, views) for key in sorted({_key_of(one) for one in published})]
    place = writable_folder(Path(out))
    paths = place / "published.json", place / "published.md"
    write_whole(paths[0], to_json({"schema": SCHEMA_VERSION, "tables": [content for content, _ in tables]}))
    write_whole(paths[1], "\n".join([_HEAD, *(text for _, text in tables)]))
    return paths


Key = tuple[str, str, float]


def _key_of(one: Published) -> Key:
    # Entries of 2020 without a radius are at their data set's usual one; none of the two norms has such today.
    return one.dataset, one.norm, -1.0 if one.eps is None else round(parse_number(one.eps, what="eps"), 6)


def _table(key: Key, published: Sequence[Published], views: Sequence[RunView]) -> tuple[dict[str, Any], str]:
    rows: list[dict[str, Any]] = []
    for one in published:
        if _key_of(one) == key:
            rows.append(
                {
                    "model": one.model,
                    "from": "RobustBench",
                    "natural": one.natural,
                    "autoattack": one.autoattack,
                    "best_known": one.best_known,
                    "worst_class": None,
                    "images": _IMAGES.get(one.dataset),
                    "ranked": True,
                    "unreliable": one.unreliable,
                    "paper": one.paper,
                    "venue": one.venue,
                    "architecture": one.architecture,
                }
            )
    ours = [view for view in views if _key_of_run(view) == key]
    rows += [_own_row(view) for view in ours]
    rows.sort(key=lambda row: (not row["ranked"], -(row["best_known"] or 0.0), row["model"], row["from"]))
    dataset, norm, _ = key
    eps = next((one.eps for one in published if _key_of(one) == key), None)
    heading = f"{dataset}, {norm}, eps {eps or 'not given'}"
    cells = tuple(_cells(place if row["ranked"] else None, row) for place, row in enumerate(rows, start=1))
    table = Table("published", "Ranked by the best known robust accuracy", _COLUMNS, cells)
    content = {"dataset": dataset, "norm": norm, "eps": eps, "rows": rows}
    return content, f"## {markdown_escape(heading)}\n\n{to_markdown(table)}"


def _key_of_run(view: RunView) -> Key:
    threat = view.record["threat"]
    return dataset_name(str(view.record["dataset"]["name"])), str(threat["norm"]), round(float(threat["eps"]), 6)


def _own_row(view: RunView) -> dict[str, Any]:
    dataset = view.record["dataset"]
    cascade = next((name for name in view.attacks if view.parts(name)), None)
    strongest = view.of(view.strongest)
    whole = dataset.get("selection", "all") == "all" and dataset["split"] == "test"
    return {
        "model": view.label,
        "from": "this run",
        "natural": view.of(NATURAL)["average"],
        "autoattack": None if cascade is None else view.of(cascade)["average"],
        "best_known": strongest["average"],
        "worst_class": strongest["worst_class"],
        "images": view.count(NATURAL),
        "ranked": whole and cascade is not None,
        "unreliable": bool(view.record.get("flags")),
        "source": view.record["model"].get("source"),
        "attack": view.strongest,
        "run": view.run.name,
    }


def _cells(rank: int | None, row: dict[str, Any]) -> tuple[Cell, ...]:
    own = row["from"] == "this run"
    worst = row["worst_class"] or {}
    remarks = ["unreliable"] if row["unreliable"] else []
    if own and not row["ranked"]:
        remarks.append("not ranked: " + ("no AutoAttack" if row["autoattack"] is None else "not the whole test split"))
    return (
        Cell("" if rank is None else str(rank)),
        Cell(plain(str(row["model"]))),
        Cell(str(row["from"])),
        Cell(percent(row["natural"], 2)),
        Cell(percent(row["autoattack"], 2)),
        Cell(percent(row["best_known"], 2)),
        Cell(percent(worst.get("accuracy"), 2), remark=plain(str(worst.get("name") or ""))),
        Cell(str(row["images"] or "")),
        Cell(", ".join(remarks)),
    )
