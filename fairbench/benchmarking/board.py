"""The leaderboard of a suite: means and spreads over seeds, paired differences, rho, and what each training cost."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fairbench.benchmarking.results import INACTIVE_BELOW, SeedResult
from fairbench.benchmarking.suites import LEAST_EPOCHS, Row, Suite
from fairbench.metrics import seed_interval
from fairbench.outcomes import NATURAL
from fairbench.reporting.table import Cell, Column, Table
from fairbench.reporting.table_formats import to_markdown
from fairbench.runs import to_json
from fairbench.whole_file import write_whole

SCHEMA_VERSION = 1
_ACCURACIES = (("average", "average"), ("worst_class", "worst"), ("normalized_std", "NSD"))
_COST = ("forwards", "backwards", "teacher_forwards", "teacher_backwards")


@dataclass(frozen=True)
class Entry:
    """One row: the seeds that are finished, and why the others are not ({seed: reason})."""

    row: Row
    seeds: tuple[SeedResult, ...]
    missing: Mapping[int, str]

    def values(self, attack: str, metric: str) -> list[float]:
        """Return one number per finished seed."""
        return [one.value(attack, metric) for one in self.seeds]

    def paired(self, other: Entry, of: Callable[[SeedResult], float]) -> tuple[list[float], list[float]]:
        """Return the numbers of both on the seeds that both have."""
        theirs = {one.seed: of(one) for one in other.seeds}
        ours = {one.seed: of(one) for one in self.seeds if one.seed in theirs}
        return list(ours.values()), [theirs[seed] for seed in ours]


@dataclass(frozen=True)
class Board:
    """A suite's entries; `teachers` are {role: {attack: metrics}} of those that are finished."""

    suite: Suite
    entries: tuple[Entry, ...]
    teachers: Mapping[str, Mapping[str, Any]]

    def entry(self, name: str) -> Entry | None:
        """Return a row's entry, None where it is not in this call."""
        return next((entry for entry in self.entries if entry.row.name == name), None)

    def ranked(self) -> list[Entry]:
        """Return the entries by their mean worst class under the ranking attack; those without a seed come last."""

        def key(entry: Entry) -> tuple[bool, float, float]:
            worst, average = (entry.values(self.suite.ranked_by, metric) for metric in ("worst_class", "average"))
            return (not worst, -_mean(worst), -_mean(average)) if worst else (True, 0.0, 0.0)

        return sorted(self.entries, key=key)


def write_board(board: Board, folder: Path) -> tuple[Path, Path]:
    """Write leaderboard.json and leaderboard.md and return both paths."""
    paths = folder / "leaderboard.json", folder / "leaderboard.md"
    write_whole(paths[0], to_json(board_json(board)))
    write_whole(paths[1], board_markdown(board))
    return paths


def board_json(board: Board) -> dict[str, Any]:
    """Return the content of leaderboard.json: every number per seed, and what the tables say of them."""
    suite = board.suite
    return {
        "schema": SCHEMA_VERSION,
        "suite": suite.name, "dataset": suite.dataset, "eps": suite.eps, "model": suite.model,
        "teacher_model": suite.teacher_model, "samples_per_class": suite.samples_per_class, "epochs": suite.epochs,
        "ranked_by": suite.ranked_by, "baseline": suite.baseline, "inactive_below": INACTIVE_BELOW,
        "teachers": {role: _brief(metrics) for role, metrics in board.teachers.items()},
        "entries": [_entry_json(board, entry) for entry in board.ranked()],
    }  # fmt: skip


def board_markdown(board: Board) -> str:
    """Return leaderboard.md."""
    suite = board.suite
    images = "all test images" if suite.test_per_class is None else f"{suite.test_per_class} test images of each class"
    told = "; ".join(
        f"{role} ({suite.teacher_model}, {dict(suite.teachers)[role]}): "
        + ", ".join(f"{a} {100 * m['average']:.1f} / {100 * m['worst_class']['accuracy']:.1f}" for a, m in of.items())
        for role, of in board.teachers.items()
    )
    few = f" Only {suite.epochs} epochs: what acts per epoch may not have acted." * (suite.epochs < LEAST_EPOCHS)
    what = f"{suite.description[0].upper()}{suite.description[1:]}"
    text = [
        f"# {suite.name}\n",
        f"{what}. Made by `fairbench bench --suite {suite.name}`.\n",
        f"{suite.samples_per_class} training images of each class, {suite.epochs} epochs of the common recipe for "
        f"every row, {suite.model}, Linf {suite.eps}, {images}. Accuracies in %, mean ± standard deviation over seeds; "
        "NSD is the standard deviation over classes divided by their mean. Differences are paired by seed, in points, "
        'with their 95 % t interval over seeds. "If equal" is the worst class that these test images would show if all '
        "classes were as accurate as their average. A row is inactive where its class state differs by less than "
        f"{INACTIVE_BELOW:.0%} between classes in the last epoch.{few}\n",
        *([f"Teachers, average / worst class: {told}. One network for all seeds.\n"] if told else []),
        *(
            to_markdown(table)
            for table in (_main_table(board), _attack_table(board), _base_table(board), _cost_table(board))
            if table.rows
        ),
    ]
    return "\n".join(text)


def _main_table(board: Board) -> Table:
    suite, attack = board.suite, board.suite.ranked_by
    baseline = board.entry(suite.baseline)
    columns = (
        Column("#"), Column("method", text=True), Column("natural average"), Column(f"{attack} average"),
        Column(f"{attack} worst"), Column("if equal"), Column(f"{attack} NSD"),
        Column(f"worst - {suite.baseline}"),
        Column(f"average - {suite.baseline}"), Column("rho"), Column("seeds"), Column("remarks", text=True),
    )  # fmt: skip
    rows = []
    for rank, entry in enumerate(board.ranked(), start=1):
        shown = [
            _spread(entry.values(NATURAL, "average")),
            _spread(entry.values(attack, "average")),
            _spread(entry.values(attack, "worst_class")),
            _percent(_mean([one.worst_if_equal(attack) for one in entry.seeds])),
            _spread(entry.values(attack, "normalized_std"), "normalized_std"),
        ]
        compared = [
            _difference(entry, baseline, attack, metric) if entry is not baseline else Cell("")
            for metric in ("worst_class", "average")
        ]
        value = _rho(entry, baseline, attack)
        shown_rho = "" if entry is baseline or math.isnan(value) else f"{value:+.2f}"
        rows.append((
            Cell(str(rank) if entry.seeds else ""), Cell(entry.row.name), *shown, *compared, Cell(shown_rho),
            Cell(str(len(entry.seeds))), Cell(remarks(entry)),
        ))  # fmt: skip
    return Table("leaderboard", f"Ranked by the worst class under {attack}", columns, tuple(rows))


def _attack_table(board: Board) -> Table:
    attacks = (NATURAL, *board.suite.attacks)
    columns = tuple(Column(f"{attack} {word}") for attack in attacks for _, word in _ACCURACIES)
    rows = tuple(
        (
            Cell(entry.row.name),
            *(_spread(entry.values(attack, metric), metric) for attack in attacks for metric, _ in _ACCURACIES),
        )
        for entry in board.ranked()
    )
    return Table("attacks", "Every attack", (Column("method", text=True), *columns), rows)


def _base_table(board: Board) -> Table:
    """Say what each method adds to the one it is built on, in sentences that know how many seeds there are."""
    rows = []
    for entry in board.ranked():
        base = board.entry(entry.row.base) if entry.row.base else None
        if base is None:
            continue
        for metric, words in (("worst_class", "the worst class"), ("average", "the average")):
            pair = entry.paired(base, _reader(board.suite.ranked_by, metric))
            if pair[0]:
                what = f"{words} of {entry.row.name} - {base.row.name} under {board.suite.ranked_by}"
                rows.append((Cell(entry.row.name), Cell(base.row.name), Cell(seed_interval(*pair).sentence(what))))
    columns = tuple(Column(head, text=True) for head in ("method", "base", "paired by seed"))
    return Table("bases", "Each method against the one it is built on", columns, tuple(rows))


def _cost_table(board: Board) -> Table:
    columns = (
        Column("method", text=True), *(Column(f"{name.replace('_', ' ')} (million)") for name in _COST),
        Column("saved forwards (million)"), Column("skipped steps"), Column("minutes"),
        Column("class state, relative range over classes", text=True),
    )  # fmt: skip
    rows = []
    for entry in board.ranked():
        counts = [_million([one.cost.get(name, 0) for one in entry.seeds]) for name in _COST]
        saved = [one.cost["saved_forwards"] for one in entry.seeds if "saved_forwards" in one.cost]
        rows.append((
            Cell(entry.row.name), *counts, _million(saved), _number([one.cost["skipped_steps"] for one in entry.seeds]),
            _number([one.cost["seconds"] / 60 for one in entry.seeds]), Cell(_activity(entry)),
        ))  # fmt: skip
    note = (
        "A forward is one image through the network; a backward is one image's gradient coming back, to the weights or "
        "to the pixels. Validation is not counted. Minutes are of the machine it ran on, and depend on what else ran."
    )
    return Table("cost", "Cost of one training, mean over seeds", columns, tuple(rows), (note,))


def remarks(entry: Entry) -> str:
    """Return "inactive" and why seeds are missing, in words."""
    words = [] if entry.row.start is None else ["after {1} epochs of {0}".format(*entry.row.start)]
    idle = sum(one.inactive for one in entry.seeds)
    if idle:
        words.append("inactive" if idle == len(entry.seeds) else f"inactive in {idle} of {len(entry.seeds)} seeds")
    reasons: dict[str, list[int]] = {}
    for seed, reason in entry.missing.items():
        reasons.setdefault(reason, []).append(seed)
    for reason, seeds in reasons.items():
        words.append(f"seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))}: {reason}")
    return "; ".join(words)


def _reader(attack: str, metric: str) -> Callable[[SeedResult], float]:
    return lambda one: one.value(attack, metric)


def _rho(entry: Entry, baseline: Entry | None, attack: str) -> float:
    pairs = {one.seed: one for one in baseline.seeds} if baseline else {}
    return _mean([one.rho_over(pairs[one.seed], attack) for one in entry.seeds if one.seed in pairs])


def _difference(entry: Entry, baseline: Entry | None, attack: str, metric: str) -> Cell:
    pair = entry.paired(baseline, _reader(attack, metric)) if baseline else ([], [])
    if not pair[0]:
        return Cell("")
    found = seed_interval(*pair)
    limits = "" if math.isnan(found.low) else f" ({100 * found.low:+.1f} to {100 * found.high:+.1f})"
    return Cell(f"{100 * found.mean:+.1f}{limits}")


def _entry_json(board: Board, entry: Entry) -> dict[str, Any]:
    attack, found = board.suite.ranked_by, {}
    for name in dict.fromkeys((board.suite.baseline, entry.row.base)):
        other = board.entry(name) if name else None
        if other is None or other is entry:
            continue
        metrics = {}
        for metric in ("worst_class", "average"):
            pair = entry.paired(other, _reader(attack, metric))
            if pair[0]:
                metrics[metric] = {**vars(seed_interval(*pair)), "decided": seed_interval(*pair).decided}
        found[str(name)] = {**metrics, "rho": _rho(entry, other, attack)}
    return {
        "name": entry.row.name, "method": entry.row.method, "hyper": list(entry.row.hyper), "base": entry.row.base,
        "start": entry.row.start, "lr": entry.row.lr, "remarks": remarks(entry),
        "missing": {str(seed): reason for seed, reason in entry.missing.items()},
        "difference": found,
        "seeds": [
            {
                "seed": one.seed, "inactive": one.inactive, "cost": dict(one.cost),
                "class_state_range": dict(one.ranges), "attacks": _brief(one.metrics),
            }
            for one in entry.seeds
        ],
    }  # fmt: skip


def _brief(metrics: Mapping[str, Any]) -> dict[str, Any]:
    names = ("average", "class_average", "worst_class", "normalized_std", "class_accuracy", "class_count", "if_equal")
    return {attack: {name: of[name] for name in names} for attack, of in metrics.items()}


def _activity(entry: Entry) -> str:
    names = dict.fromkeys(name for one in entry.seeds for name in one.ranges)
    return ", ".join(f"{name} {_mean([one.ranges[name] for one in entry.seeds]):.2f}" for name in names)


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if len(values) else math.nan


def _spread(values: Sequence[float], metric: str = "average") -> Cell:
    if not len(values) or math.isnan(_mean(values)):
        return Cell("")
    scale, digits = (1, 3) if metric == "normalized_std" else (100, 1)
    mean = f"{scale * _mean(values):.{digits}f}"
    return Cell(mean if len(values) < 2 else f"{mean} ± {scale * float(np.std(values, ddof=1)):.{digits}f}")


def _percent(value: float) -> Cell:
    return Cell("" if math.isnan(value) else f"{100 * value:.1f}")


def _million(values: Sequence[float]) -> Cell:
    return Cell(f"{_mean(values) / 1e6:.2f}" if len(values) else "")


def _number(values: Sequence[float]) -> Cell:
    return Cell(f"{_mean(values):.1f}" if len(values) else "")
