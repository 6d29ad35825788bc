"""leaderboard.json of a suite: every number per seed, and what the tables say of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fairbench.benchmarking.entries import Board, Entry, remarks
from fairbench.benchmarking.results import INACTIVE_BELOW
from fairbench.metrics import seed_interval

SCHEMA_VERSION = 1


def board_json(board: Board) -> dict[str, Any]:
    """Return the content of leaderboard.json: every number per seed, and what the tables say of them."""
    suite = board.suite
    return {
        "schema": SCHEMA_VERSION,
        "suite": suite.name, "dataset": suite.dataset, "eps": suite.eps, "model": suite.model,
        "teacher_model": suite.teacher_model, "samples_per_class": suite.samples_per_class, "epochs": suite.epochs,
        "ranked_by": suite.ranked_by, "baseline": suite.baseline, "inactive_below": INACTIVE_BELOW,
        "teachers": {role: brief(metrics) for role, metrics in board.teachers.items()},
        "entries": [_entry(board, entry) for entry in board.ranked()],
    }  # fmt: skip


def _entry(board: Board, entry: Entry) -> dict[str, Any]:
    attack, found = board.suite.ranked_by, {}
    for name in dict.fromkeys((board.suite.baseline, entry.row.base)):
        other = board.entry(name) if name else None
        if other is None or other is entry:
            continue
        metrics = {}
        for metric in ("worst_class", "average", "normalized_std"):
            pair = entry.paired(other, attack, metric)
            if pair[0]:
                metrics[metric] = {**vars(seed_interval(*pair)), "decided": seed_interval(*pair).decided}
        found[str(name)] = {**metrics, "rho": entry.rho(other, attack), "passes": entry.passes() / other.passes()}
    return {
        "name": entry.row.name, "method": entry.row.method, "hyper": list(entry.row.hyper), "base": entry.row.base,
        "slots": dict(entry.row.slots), "options": list(entry.row.options), "start": entry.row.start,
        "lr": entry.row.lr, "remarks": remarks(entry),
        "missing": {str(seed): reason for seed, reason in entry.missing.items()},
        "difference": found,
        "seeds": [
            {
                "seed": one.seed, "inactive": one.inactive, "cost": dict(one.cost),
                "class_state_range": dict(one.ranges), "attacks": brief(one.metrics),
            }
            for one in entry.seeds
        ],
    }  # fmt: skip


def brief(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Return what leaderboard.json holds of {attack: metrics}."""
    names = ("average", "class_average", "worst_class", "normalized_std", "class_accuracy", "class_count", "if_equal")
    return {attack: {name: of[name] for name in names} for attack, of in metrics.items()}
