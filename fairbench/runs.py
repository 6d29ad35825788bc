"""A run folder: run.json, outcomes.parquet, metrics.json.

run.json keys: schema, protocol, command, started, seconds, versions, commit, hardware, processes, threads, block_size,
seeds, dataset {name, split, count, num_classes, class_names, selection, index_sha256, sha256},
model {name, sha256, normalize}, threat {norm, eps, eps_text}, attacks {name: resolved keywords}, precision, device,
engine, accepted, flags [{name, severity, class, evidence, advice}], and where adversarial examples were kept, examples
{files, bytes, sha256 (of examples.json)}.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fairbench.contradictions import refuse_contradictions
from fairbench.errors import BadInput
from fairbench.json_text import to_json as to_json
from fairbench.outcomes import Outcomes
from fairbench.whole_file import write_whole

SCHEMA_VERSION = 1
#: Raised whenever the same command may give other verdicts (see CHANGELOG, "Numbers that changed").
PROTOCOL_VERSION = 2


def write_json(path: Path, value: object) -> None:
    """Write `value` as JSON, whole or not at all."""
    write_whole(path, to_json(value))


def read_json(path: Path, *, what: str) -> dict[str, Any]:
    """Read a JSON object that a person may have edited.

    Raises:
        BadInput: missing, unreadable, no JSON, or no object.
    """
    try:
        value = json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BadInput(f"{what} {str(path)[:200]!r} does not exist.") from None
    except (OSError, ValueError, RecursionError) as error:
        reason = str(error).splitlines()[0][:120]
        raise BadInput(f"{what} {str(path)[:200]!r} is not readable JSON ({reason}).") from error
    if not isinstance(value, dict):
        raise BadInput(f"{what} {str(path)[:200]!r} must hold a JSON object, but holds a {type(value).__name__}.")
    return value


@dataclass(frozen=True)
class Run:
    """A finished evaluation: its folder's name, run.json's content and the outcome table."""

    name: str
    record: Mapping[str, Any]
    outcomes: Outcomes
    folder: Path | None = None

    @property
    def class_names(self) -> tuple[str, ...]:
        """The K class names, in order of label."""
        return tuple(self.record["dataset"]["class_names"])

    @property
    def num_classes(self) -> int:
        """K."""
        return int(self.record["dataset"]["num_classes"])


def read_run(folder: Path) -> Run:
    """Read a run folder.

    Raises:
        BadInput: no run folder, an unfinished one, one that a newer fairbench wrote, or a table that no evaluation
            writes.
    """
    folder = Path(folder)
    if not (folder / "run.json").exists():
        state = "holds no finished run" if folder.is_dir() else "is a file" if folder.is_file() else "does not exist"
        raise BadInput(
            f"{str(folder)[:200]!r} {state}; give the folder that 'fairbench eval' printed on its last line."
        )
    record = read_json(folder / "run.json", what="run record")
    version = record.get("schema")
    if not isinstance(version, int) or version > SCHEMA_VERSION:
        raise BadInput(
            f"{folder / 'run.json'} has schema {version!r}, but this fairbench reads up to {SCHEMA_VERSION}: update it."
        )
    _refuse_wrong_kinds(record, folder / "run.json")
    outcomes = Outcomes.read(folder / "outcomes.parquet")
    refuse_contradictions(outcomes, record, where=f"the table {str(folder / 'outcomes.parquet')[:200]}")
    return Run(folder.resolve().name, record, outcomes, folder)


def _refuse_wrong_kinds(record: Mapping[str, Any], place: Path) -> None:
    """Refuse a record that somebody edited so that its parts are of another kind; who needs a part asks for it."""
    known: list[tuple[tuple[str, ...], tuple[type, ...], str]]
    known = [((key,), (dict,), "an object") for key in ("dataset", "model", "threat", "attacks", "settings")]
    known += [
        (("dataset", "class_names"), (list,), "a list of texts"),
        (("dataset", "num_classes"), (int,), "a whole number"),
        (("threat", "eps"), (int, float), "a number"),
    ]
    for keys, kinds, right in known:
        value: Any = record
        for key in keys:
            value = value.get(key) if isinstance(value, Mapping) else None
        null = len(keys) == 1 and keys[0] in record and value is None
        wrong = null or (value is not None and (not isinstance(value, kinds) or isinstance(value, bool)))
        if wrong or (keys[-1] == "class_names" and not all(isinstance(name, str) for name in value or ())):
            raise BadInput(
                f"the run record {str(place)[:200]} is not usable: {'.'.join(keys)} must be {right}, and not "
                f"{str(value)[:40]!r}; restore the file that 'fairbench eval' wrote."
            )
    data = record.get("dataset") or {}
    names, count = data.get("class_names"), data.get("num_classes")
    if names is not None and count is not None and len(names) != count:
        raise BadInput(
            f"the run record {str(place)[:200]} names {len(names)} classes for num_classes {count}; restore the "
            "file that 'fairbench eval' wrote."
        )


def write_run(folder: Path, record: Mapping[str, Any], outcomes: Outcomes) -> Run:
    """Write the table and then run.json, whose presence says that the run is complete."""
    outcomes.write(folder / "outcomes.parquet")
    write_json(folder / "run.json", record)
    return Run(folder.resolve().name, record, outcomes, folder)
