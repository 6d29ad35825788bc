"""One hash that says whether two run folders hold the same evaluation of the same model, with the same verdicts.

Only what decides a verdict is in it. The machine, its threads, block size and processes, the code's commit and the
packages' versions are not: two evaluations of one model under one protocol may differ in them, and if one of them did
change a verdict, the verdicts differ and so does the hash.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from fairbench.runs import Run

#: Keys of run.json that go in whole.
_RECORD = ("schema", "protocol", "attacks", "precision", "engine", "seeds")
#: Keys of its parts. Not the names of data set and model: a folder or a file may have moved; the hashes say what it is.
_PARTS = {
    "dataset": ("split", "count", "num_classes", "class_names", "index_sha256", "sha256", "preprocess"),
    "model": ("sha256", "normalize"),
    "threat": ("norm", "eps"),
}


def provenance_sha256(run: Run) -> str:
    """Return 64 hexadecimal digits: what was asked of which model on which samples, and the verdict on every sample.

    The order in which attacks or accepted checks were given does not matter. Floats of the table (loss, margin) are
    left out, since they are rounded differently from machine to machine.
    """
    digest = hashlib.sha256(json.dumps(_asked(run.record), sort_keys=True).encode())
    frame = run.outcomes.frame  # sorted by (attack, index)
    digest.update("\n".join(frame["attack"]).encode())
    for column in ("index", "label", "prediction"):
        digest.update(frame[column].to_numpy().astype("<i8").tobytes())
    return digest.hexdigest()


def _asked(record: Mapping[str, Any]) -> dict[str, Any]:
    asked: dict[str, Any] = {key: record.get(key) for key in _RECORD}
    for part, keys in _PARTS.items():
        asked[part] = {key: record.get(part, {}).get(key) for key in keys}
    return {**asked, "accepted": sorted(str(check) for check in record.get("accepted") or ())}
