"""RobustBench's published entries beside our runs: average numbers, since it publishes no others.

The entries are the folder `model_info` of RobustBench's repository (its PyPI package does not contain it). Ours stand
in a table with them where data set, norm and radius are the same; the class numbers are only ours. What others have
published has no rank: ranks are of what was measured here and is a RobustBench figure (see `robustbench_figure`).
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
from fairbench.reporting.robustbench_figure import Claim, dataset_name, standard_autoattack, why_no_figure
from fairbench.reporting.table import Cell, Column, Table, percent
from fairbench.reporting.table_formats import markdown_escape, plain, to_markdown
from fairbench.reporting.view import RunView
from fairbench.runs import read_run, to_json
from fairbench.threat import parse_number
from fairbench.whole_file import writable_folder, write_whole

SCHEMA_VERSION = 2
#: Where a row comes from: the figure of somebody else, or a run that is here.
PUBLISHED, MEASURED = "published", "measured"
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

Accuracies in %, in order of the best known robust accuracy. Ranks are of what was measured here: a published figure
has none, and neither has a run that is not a RobustBench figure. RobustBench publishes averages only, so worst classes
are of our runs.
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
    #: Why an entry that fairbench exported, which says how it was measured, is no RobustBench figure.
    refused: str | None = None

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
        text("name"), text("venue"), text("architecture"), _refusal(path, found),
    )  # fmt: skip


def _refusal(path: Path, found: dict[str, Any]) -> str | None:
    """Judge what an entry of ours says of its samples, attacks and flags; RobustBench's own say nothing of them."""
    if "classwise" not in found:
        return None
    try:
        claim = Claim.of_entry(found["classwise"], unreliable=found.get("unreliable") is True)
        return why_no_figure(claim, f"the entry {path.stem[:80]!r}")
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BadInput(
            f"classwise of {str(path)[-150:]} is not what 'fairbench leaderboard export' writes ({str(error)[:60]}); "
            "export the run again, or remove the key."
        ) from error


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
    entries = [one for one in published if _key_of(one) == key]
    rows = [_published_row(one) for one in entries]
    rows += [_own_row(view) for view in views if _key_of_run(view) == key]
    rows.sort(key=lambda row: (row["refused"] is not None, -(row["best_known"] or 0.0), row["model"], row["from"]))
    ranked = [row for row in rows if row["from"] == MEASURED and row["refused"] is None]
    for rank, row in enumerate(ranked, start=1):
        row["rank"] = rank
    dataset, norm, _ = key
    heading = f"{dataset}, {norm}, eps {entries[0].eps or 'not given'}"
    table = Table("published", "By the best known robust accuracy", _COLUMNS, tuple(_cells(row) for row in rows))
    content = {"dataset": dataset, "norm": norm, "eps": entries[0].eps, "rows": rows}
    return content, f"## {markdown_escape(heading)}\n\n{to_markdown(table)}"


def _key_of_run(view: RunView) -> Key:
    threat = view.record["threat"]
    return dataset_name(str(view.record["dataset"]["name"])), str(threat["norm"]), round(float(threat["eps"]), 6)


def _published_row(one: Published) -> dict[str, Any]:
    return {
        "model": one.model,
        "from": PUBLISHED,
        "rank": None,
        "natural": one.natural,
        "autoattack": one.autoattack,
        "best_known": one.best_known,
        "worst_class": None,
        "images": _IMAGES.get(one.dataset),
        "refused": one.refused,
        "unreliable": one.unreliable,
        "paper": one.paper,
        "venue": one.venue,
        "architecture": one.architecture,
    }


def _own_row(view: RunView) -> dict[str, Any]:
    claim = Claim.of_run(view)
    autoattack, strongest = standard_autoattack(claim), view.of(view.strongest)
    return {
        "model": view.label,
        "from": MEASURED,
        "rank": None,
        "natural": view.of(NATURAL)["average"],
        "autoattack": None if autoattack is None else view.of(autoattack)["average"],
        "best_known": strongest["average"],
        "worst_class": strongest["worst_class"],
        "images": view.count(NATURAL),
        "refused": why_no_figure(claim, f"the run {view.run.name[:80]!r}"),
        "unreliable": bool(view.raised),
        "source": view.record["model"].get("source"),
        "attack": view.strongest,
        "run": view.run.name,
    }


def _cells(row: dict[str, Any]) -> tuple[Cell, ...]:
    worst = row["worst_class"] or {}
    remarks = [*(["unreliable"] if row["unreliable"] else []), *([row["refused"]] if row["refused"] else [])]
    return (
        Cell("" if row["rank"] is None else str(row["rank"])),
        Cell(plain(str(row["model"]))),
        Cell(str(row["from"])),
        Cell(percent(row["natural"], 2)),
        Cell(percent(row["autoattack"], 2)),
        Cell(percent(row["best_known"], 2)),
        Cell(percent(worst.get("accuracy"), 2), remark=plain(str(worst.get("name") or ""))),
        Cell(str(row["images"] or "")),
        Cell(plain(", ".join(remarks))),
    )
