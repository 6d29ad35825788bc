"""The leaderboard of a suite: means and spreads over seeds, paired differences, rho, and what each training cost."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fairbench.benchmarking.board_json import board_json
from fairbench.benchmarking.entries import PASSES, Board, Entry, mean, remarks
from fairbench.benchmarking.results import INACTIVE_BELOW
from fairbench.benchmarking.suites import LEAST_EPOCHS
from fairbench.metrics import seed_interval
from fairbench.outcomes import NATURAL
from fairbench.reporting.table import Cell, Column, Table
from fairbench.reporting.table_formats import to_markdown
from fairbench.runs import to_json
from fairbench.whole_file import write_whole

_ACCURACIES = (("average", "average"), ("worst_class", "worst"), ("normalized_std", "NSD"))


def write_board(board: Board, folder: Path) -> tuple[Path, Path]:
    """Write leaderboard.json and leaderboard.md and return both paths."""
    paths = folder / "leaderboard.json", folder / "leaderboard.md"
    write_whole(paths[0], to_json(board_json(board)))
    write_whole(paths[1], board_markdown(board))
    return paths


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
        f"every row, learning rate {suite.lr} and the published loss but for what remarks name, {suite.model}, "
        f"Linf {suite.eps}, {images}. Accuracies in %, mean ± standard deviation over seeds; "
        "NSD is the standard deviation over classes divided by their mean. Differences are paired by seed, in points, "
        'with their 95 % t interval over seeds. "If equal" are the worst class and the NSD that these test images '
        "would show if all classes were as accurate as their average. A row that lacks a seed has no rank and stands "
        "below. A row is inactive where its class state differs "
        f"by less than {INACTIVE_BELOW:.0%} between classes in the last epoch.{few}\n",
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
        Column("NSD if equal"), Column(f"worst - {suite.baseline}"),
        Column(f"average - {suite.baseline}"), Column(f"rho over {suite.baseline}"), Column("seeds"),
        Column("remarks", text=True),
    )  # fmt: skip
    rows = []
    for rank, entry in enumerate(board.ranked(), start=1):
        shown = [
            _spread(entry.values(NATURAL, "average")),
            _spread(entry.values(attack, "average")),
            _spread(entry.values(attack, "worst_class")),
            _percent(mean([one.if_equal(attack, "worst_class") for one in entry.seeds])),
            _spread(entry.values(attack, "normalized_std"), "normalized_std"),
            _spread([mean([one.if_equal(attack, "normalized_std") for one in entry.seeds])], "normalized_std"),
        ]
        compared = [
            _difference(entry, baseline, attack, metric) if entry is not baseline else Cell("")
            for metric in ("worst_class", "average")
        ]
        value = entry.rho(baseline, attack)
        shown_rho = "" if entry is baseline or math.isnan(value) else f"{value:+.2f}"
        rows.append((
            Cell(str(rank) if board.has_rank(entry) else ""), Cell(entry.row.name), *shown, *compared, Cell(shown_rho),
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
    """Return what each method adds to the one it is built on: accuracy, spread and cost, and what the seeds decide."""
    attack, rows = board.suite.ranked_by, []
    for entry in board.ranked():
        base = board.entry(entry.row.base) if entry.row.base else None
        if base is None or not entry.paired(base, attack, "average")[0]:
            continue
        shown = [_difference(entry, base, attack, metric) for metric, _ in _ACCURACIES]
        cost = entry.passes() / base.passes()
        rows.append((
            Cell(entry.row.name), Cell(base.row.name), *shown, Cell(f"{cost:.2f}"), Cell(_decided(entry, base, attack)),
        ))  # fmt: skip
    columns = (
        Column("method", text=True), Column("base", text=True), *(Column(word) for _, word in _ACCURACIES),
        Column("passes"), Column("what the seeds decide", text=True),
    )  # fmt: skip
    note = (
        f"Method minus base under {attack}, paired by seed, with the 95 % t interval over seeds; NSD in its own unit, "
        "the lower the better; the intervals are not corrected for their number. Passes: forwards and backwards of "
        "student and teachers, over those of the base."
    )
    return Table("bases", "Each method against the one it is built on", columns, tuple(rows), (note,))


def _decided(entry: Entry, base: Entry, attack: str) -> str:
    """Return, in words, for which numbers the interval leaves the sign in no doubt."""
    if len(entry.paired(base, attack, "average")[0]) < 2:
        return "nothing: one seed"
    words = []
    for metric, word in _ACCURACIES:
        pair = entry.paired(base, attack, metric)
        if pair[0] and (found := seed_interval(*pair)).decided:
            words.append(f"{word} {'higher' if found.mean > 0 else 'lower'}")
    return ", ".join(words) or "nothing"


def _cost_table(board: Board) -> Table:
    columns = (
        Column("method", text=True), *(Column(f"{name.replace('_', ' ')} (million)") for name in PASSES),
        Column("saved forwards (million)"), Column("skipped steps"), Column("minutes"),
        Column("class state, relative range over classes", text=True),
    )  # fmt: skip
    rows = []
    for entry in board.ranked():
        counts = [_million([one.cost.get(name, 0) for one in entry.seeds]) for name in PASSES]
        saved = [one.cost["saved_forwards"] for one in entry.seeds if "saved_forwards" in one.cost]
        rows.append((
            Cell(entry.row.name), *counts, _million(saved), _number([one.cost["skipped_steps"] for one in entry.seeds]),
            _number([one.cost["seconds"] / 60 for one in entry.seeds]), Cell(_activity(entry)),
        ))  # fmt: skip
    note = (
        "A forward is one image through the network; a backward is one image's gradient coming back, to the weights or "
        "to the pixels. Neither validation, which some methods learn from, nor the teachers' training is counted, "
        "and a teacher's pass counts like a student's, though its network may be larger. Minutes are of the machine it "
        "ran on, and depend on what else ran."
    )
    return Table("cost", "Cost of one training, mean over seeds", columns, tuple(rows), (note,))


def _difference(entry: Entry, baseline: Entry | None, attack: str, metric: str) -> Cell:
    pair = entry.paired(baseline, attack, metric) if baseline else ([], [])
    if not pair[0]:
        return Cell("")
    found = seed_interval(*pair)
    scale, digits = _unit(metric)
    middle, low, high = (f"{scale * value:+.{digits}f}" for value in (found.mean, found.low, found.high))
    return Cell("" if math.isnan(found.mean) else middle if math.isnan(found.low) else f"{middle} ({low} to {high})")


def _unit(metric: str) -> tuple[int, int]:
    """Return the factor and the digits that a number is shown with."""
    return (1, 3) if metric == "normalized_std" else (100, 1)


def _activity(entry: Entry) -> str:
    names = dict.fromkeys(name for one in entry.seeds for name in one.ranges)
    return ", ".join(f"{name} {mean([one.ranges[name] for one in entry.seeds]):.2f}" for name in names)


def _spread(values: Sequence[float], metric: str = "average") -> Cell:
    if not len(values) or math.isnan(mean(values)):
        return Cell("")
    scale, digits = _unit(metric)
    middle = f"{scale * mean(values):.{digits}f}"
    return Cell(middle if len(values) < 2 else f"{middle} ± {scale * float(np.std(values, ddof=1)):.{digits}f}")


def _percent(value: float) -> Cell:
    return Cell("" if math.isnan(value) else f"{100 * value:.1f}")


def _million(values: Sequence[float]) -> Cell:
    return Cell(f"{mean(values) / 1e6:.2f}" if len(values) else "")


def _number(values: Sequence[float]) -> Cell:
    return Cell(f"{mean(values):.1f}" if len(values) else "")
