"""Runs as entries of RobustBench: its model_info JSON, with the classes in one key more.

An entry has RobustBench's keys and types, percent as text with two decimals included, so that it can be submitted as it
is; `classwise` beside them holds what RobustBench has no place for. `schemas/model_info.schema.json` describes both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from fairbench.errors import BadInput, unknown
from fairbench.outcomes import NATURAL
from fairbench.reporting.leaderboard import leaderboard_json, ranked_sets
from fairbench.reporting.robustbench_figure import Claim, footnote, standard_autoattack, why_no_figure
from fairbench.reporting.view import RunView
from fairbench.runs import read_json, read_run, to_json
from fairbench.whole_file import writable_folder, write_whole

SCHEMA_VERSION = 1
SCHEMA_NAME = "model_info.schema.json"
#: What only a person knows of a model, with RobustBench's types: --info FILE.
INFO: dict[str, type] = {
    "link": str, "name": str, "authors": str, "venue": str, "architecture": str, "reported": str, "footnote": str,
    "additional_data": bool, "number_forward_passes": int,
}  # fmt: skip


def schema_text() -> str:
    """Return the JSON Schema of an entry, as it is shipped."""
    return (files("fairbench.reporting") / "schemas" / SCHEMA_NAME).read_text(encoding="utf-8")


def export_robustbench(folders: Sequence[Path], out: Path, *, info: Path | None = None) -> list[Path]:
    """Write one entry per run, `<out>/<data set>/<norm>/<model>.json`, and the schema; return the entries' paths.

    Raises:
        BadInput: a run that is no RobustBench figure (see `why_no_figure`), two runs of one model, or an unusable
            `info`.
        WriteFailed: a later write failed.
    """
    known = read_info(info) if info is not None else {}
    entries: dict[Path, dict[str, Any]] = {}
    for run in [read_run(Path(folder)) for folder in dict.fromkeys(folders)]:
        sets = ranked_sets([run])
        view = sets[0].views[0]
        board = leaderboard_json(sets)["sets"][0]
        entry = {**entry_of(view, known), "classwise": _classwise(board)}
        place = Path(str(entry["dataset"]), str(view.record["threat"]["norm"]), f"{_file_name(view)}.json")
        if place in entries:
            raise BadInput(f"two runs would both be {place}; export one of them, or into two folders.")
        entries[place] = entry
    folder = writable_folder(Path(out))
    write_whole(folder / SCHEMA_NAME, schema_text())
    for place, entry in entries.items():
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        write_whole(folder / place, to_json(entry))
    return [folder / place for place in entries]


def entry_of(view: RunView, info: Mapping[str, Any]) -> dict[str, Any]:
    """Return RobustBench's keys of a run; what nobody said is null, as RobustBench itself writes it.

    Raises:
        BadInput: the run's number is no RobustBench figure, see `why_no_figure`.
    """
    claim, threat = Claim.of_run(view), view.record["threat"]
    refusal, autoattack = why_no_figure(claim, f"the run {view.run.name[:80]!r}"), standard_autoattack(claim)
    if refusal is not None or autoattack is None:
        raise BadInput(refusal or "")
    model = view.record["model"]
    return {
        "link": None,
        "name": None,
        "authors": None,
        "additional_data": None,
        "number_forward_passes": 1,
        "dataset": claim.dataset,
        "venue": None,
        "architecture": model.get("architecture"),
        "eps": str(threat.get("eps_text", threat["eps"])),
        "clean_acc": _percent(view.of(NATURAL)["average"]),
        "reported": None,
        "autoattack_acc": _percent(view.of(autoattack)["average"]),
        "footnote": footnote(claim),
        "unreliable": bool(view.raised),
        **info,
    }


def read_info(path: Path) -> dict[str, Any]:
    """Return what a person says of a model, see `INFO`.

    Raises:
        BadInput: the file is no JSON object, has another key, or a value of another type.
    """
    found = read_json(path, what="the information of --info")
    for key, value in found.items():
        if key not in INFO:
            raise unknown("key of --info", key, INFO)
        if type(value) is not INFO[key]:
            raise BadInput(
                f"{key!r} in {path.name[:80]} must be a JSON {INFO[key].__name__}, but is {str(value)[:60]!r}."
            )
    return found


def _classwise(board: Mapping[str, Any]) -> dict[str, Any]:
    own = {key: board[key] for key in ("dataset", "threat", "protocol")}
    return {"schema": SCHEMA_VERSION, **own, **board["entries"][0]}


def _percent(value: float) -> str:
    # As RobustBench's update_json.
    return str(round(float(value) * 100, 2))


def _file_name(view: RunView) -> str:
    """Return the zoo's own name of the model where it has one: RobustBench's files are called so."""
    source = str(view.record["model"].get("source", ""))
    if source.startswith("rb:"):
        return source.partition(" ")[0].rpartition("/")[2]
    return view.stem
