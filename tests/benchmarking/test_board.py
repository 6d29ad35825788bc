"""The leaderboard's numbers by hand, and what it says of rows that are missing or did nothing."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from fairbench.benchmarking.board import board_markdown, write_board
from fairbench.benchmarking.board_json import board_json
from fairbench.benchmarking.entries import Board, Entry, remarks
from fairbench.benchmarking.results import INACTIVE_BELOW, SeedResult, relative_range
from fairbench.benchmarking.suites import SUITES, Row

SUITE = replace(SUITES["digits-small"], attacks=("pgd20",), baseline="sat")


def metrics(accuracy):
    """Two classes of 10 images each."""
    average = sum(accuracy) / 2
    return {
        "average": average, "class_average": average, "class_accuracy": list(accuracy), "class_count": [10, 10],
        "worst_class": {"index": 0, "name": "0", "accuracy": min(accuracy)},
        "if_equal": {"worst_class": {"expected": average - 0.05}, "normalized_std": {"expected": average / 10}},
        "normalized_std": abs(accuracy[0] - accuracy[1]) / 2 / average if average else None,
    }  # fmt: skip


def result(seed, accuracy, *, ranges=None, **cost):
    counts = {"forwards": 2_000_000, "backwards": 1_000_000, "teacher_forwards": 0, "teacher_backwards": 0}
    return SeedResult(
        seed, {"natural": metrics((0.9, 0.9)), "pgd20": metrics(accuracy)},
        {"seconds": 90.0, "skipped_steps": 0, **counts, **cost}, ranges or {},
    )  # fmt: skip


def board(*entries, **suite):
    teachers = {"robust": {"natural": metrics((0.9, 0.8))}}
    return Board(replace(SUITE, **suite), tuple(entries), teachers)


def example():
    sat = Entry(Row("sat", "sat"), (result(0, (0.8, 0.4)), result(1, (0.7, 0.5))), {})
    rules = {"absld.robust_temperature": 1.2, "absld.natural_temperature": 0.0}
    absld = Entry(
        Row("absld", "absld", "rslad"), (result(0, (0.7, 0.6), ranges=rules), result(1, (0.7, 0.6), ranges=rules)), {}
    )
    rslad = Entry(Row("rslad", "rslad"), (result(1, (0.9, 0.3)),), {0: "the loss became nan."})
    ham = Entry(Row("ham", "ham", "sat"), (), {0: "not finished", 1: "not finished"})
    return board(sat, absld, rslad, ham)


def cells(page, row, table):
    """The cells of a row in the table that holds the heading `table`."""
    part = page.split(f"**{table}")[1].split("\n\n**")[0]
    line = next(line for line in part.splitlines() if f"| {row} |" in line)
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_what_a_row_continues_is_a_remark():
    row = Row("faal", "faal", "sat", start=("sat", 28), lr="0.01")
    assert remarks(Entry(row, (result(0, (0.8, 0.4)),), {})) == "after 28 epochs of sat; learning rate 0.01"
    assert json.loads(json.dumps(board_json(board(Entry(row, (), {})))))["entries"][0]["start"] == ["sat", 28]


def test_what_differs_from_the_common_recipe_is_a_remark():
    """A scaled loss, another learning rate and a part that is left out: an average of weights, for CFA."""
    rows = {row.name: row for row in SUITES["mnist-small"].rows}
    told = {name: remarks(Entry(row, (), {})) for name, row in rows.items()}
    assert told["rslad"] == "loss times 10"
    assert told["mart"] == "learning rate 0.05"
    assert told["cfa"] == "loss times 7; without its average of weights"
    assert told["sat"] == ""
    assert told["ard"] == "the published loss is small: its steps are shorter than the others'"


def test_means_spreads_differences_and_rho_by_hand():
    """Worst classes .4, .5 (SAT) and .6, .6 (ABSLD): mean .45 with a sample deviation of .0707; differences .2 and .1.

    Their mean is .15, their deviation .0707, t(.975, 1) = 12.7062: .15 +- 12.7062 * .0707 / sqrt 2 = .15 +- .6353.
    rho: (.6 - .4) / .4 + (.65 - .6) / .6 = .5833 and (.6 - .5) / .5 + (.65 - .6) / .6 = .2833; their mean is .43.
    """
    page = board_markdown(example())
    absld = cells(page, "absld", "Ranked by the worst class under pgd20")
    assert absld[:2] == ["1", "absld"]
    assert absld[3:5] == ["65.0 ± 0.0", "60.0 ± 0.0"]
    assert absld[5] == "60.0"  # if equal: 65 - 5
    assert absld[7] == "0.065"  # NSD if equal, where the NSD is .05 / .65
    assert absld[6] == "0.077 ± 0.000"
    assert absld[8] == "+15.0 (-48.5 to +78.5)"
    assert absld[10:12] == ["+0.43", "2"]
    sat = cells(page, "sat", "Ranked by the worst class under pgd20")
    assert (sat[0], sat[4]) == ("2", "45.0 ± 7.1")
    assert sat[8:11] == ["–", "–", "–"]  # noqa: RUF001


def test_a_row_that_is_missing_says_why_and_ranks_last():
    page = board_markdown(example())
    assert cells(page, "ham", "Ranked")[-1] == "seeds 0, 1: not finished"
    assert cells(page, "rslad", "Ranked")[-1] == "loss times 10; seed 0: the loss became nan."
    assert [entry.row.name for entry in example().ranked()] == ["absld", "sat", "rslad", "ham"]


def test_a_row_that_lacks_a_seed_has_no_rank_and_stands_below():
    """The one seed of BAT, the luckiest, is better than SAT's mean and worse than SAT with the same seed."""
    sat = Entry(Row("sat", "sat"), (result(0, (0.8, 0.7)), result(1, (0.7, 0.3))), {})
    wat = Entry(Row("wat", "wat"), (result(0, (0.6, 0.4)), result(1, (0.6, 0.4))), {})
    bat = Entry(Row("bat", "bat"), (result(0, (0.8, 0.6)),), {1: "not finished"})
    page = board_markdown(board(bat, wat, sat))
    ranked = page.split("**Ranked")[1].split("**Every attack")[0].splitlines()[4:]
    assert [line.split("|")[1:3] for line in ranked if line] == [[" 1 ", " sat "], [" 2 ", " wat "], [" – ", " bat "]]  # noqa: RUF001


def test_seeds_are_paired_by_number_and_one_decides_nothing():
    """ABSLD and RSLAD share seed 1 only."""
    row = cells(board_markdown(example()), "absld", "Each method")
    assert row == ["absld", "rslad", "+5.0", "+30.0", "-0.423", "1.00", "nothing: one seed"]  # NSD .05/.65 - .3/.6
    found = next(entry for entry in board_json(example())["entries"] if entry["name"] == "absld")["difference"]
    assert found["rslad"]["worst_class"]["seeds"] == 1
    assert found["sat"]["worst_class"]["mean"] == pytest.approx(0.15)
    assert found["sat"]["worst_class"]["decided"] is False
    assert found["sat"]["rho"] == pytest.approx(13 / 30)


def test_inactive_rows_are_marked():
    still, moved = {"rule.weight": INACTIVE_BELOW / 2}, {"rule.weight": 0.5, "rule.other": 0.0}
    row = Row("x", "dafa")

    def entry(*ranges):
        return Entry(row, tuple(result(seed, (0.5, 0.5), ranges=one) for seed, one in enumerate(ranges)), {})

    assert remarks(entry(still, still)) == "inactive"
    assert remarks(entry(still, moved, moved)) == "inactive in 1 of 3 seeds"
    assert remarks(entry(moved)) == "no difference between classes in rule.other"
    assert remarks(entry(moved, {**moved, "rule.other": 0.5})) == ""
    assert remarks(entry({})) == ""  # a method without class state is not inactive


def test_relative_range_by_hand():
    assert relative_range([0.5, 1.0, 1.5]) == 1.0
    assert relative_range([-1.0, 1.0]) == 2.0
    assert relative_range([0.0, 0.0]) == 0.0
    assert relative_range([1.0, 1.0]) == 0.0


def test_what_the_seeds_decide_about_a_method_and_its_base():
    """Worst classes differ by -.25 and -.24, averages by -.05 and -.045, NSDs by .2/.55 and .195/.555 from 0.

    t(.975, 1) = 12.7062: -.245 +- 12.7062 * .00707 / sqrt 2 = -.245 +- .0635. Passes: (.5 + .5) / (2 + 1) million.
    """
    sat = Entry(Row("sat", "sat"), (result(0, (0.6, 0.6)), result(1, (0.6, 0.6))), {})
    spent = {"forwards": 500_000, "backwards": 500_000}
    seeds = (result(0, (0.75, 0.35), **spent), result(1, (0.75, 0.36), **spent))
    ham = Entry(Row("ham", "ham", "sat"), seeds, {})
    row = cells(board_markdown(board(sat, ham)), "ham", "Each method")
    assert row[3] == "-24.5 (-30.9 to -18.1)"
    assert row[2] == "-4.7 (-7.9 to -1.6)"
    assert row[5:] == ["0.33", "average lower, worst lower, NSD higher"]


def test_an_undefined_spread_is_no_pair():
    """Nothing is right under the attack: its NSD is undefined, its worst class is not."""
    sat = Entry(Row("sat", "sat"), (result(0, (0.6, 0.5)),), {})
    natural = Entry(Row("natural", "natural", "sat"), (result(0, (0.0, 0.0)),), {})
    row = cells(board_markdown(board(sat, natural)), "natural", "Each method")
    assert row[2:5] == ["-55.0", "-50.0", "–"]  # noqa: RUF001


def test_cost_is_in_millions_and_ham_says_what_it_saved():
    ham = Entry(Row("ham", "ham", "sat"), (result(0, (0.5, 0.5), saved_forwards=500_000),), {})
    page = board_markdown(board(ham, *example().entries[:1]))
    assert cells(page, "ham", "Cost")[1:8] == ["2.00", "1.00", "0.00", "0.00", "0.50", "0.0", "1.5"]
    assert cells(page, "sat", "Cost")[5] == "–"  # noqa: RUF001


def test_few_epochs_are_said_and_files_are_complete(tmp_path):
    assert "Only 2 epochs" in board_markdown(board(*example().entries, epochs=2))
    assert "Only" not in board_markdown(example())
    table, page = write_board(example(), tmp_path)
    assert "NaN" not in table.read_text()
    seeds = json.loads(table.read_text())["entries"][0]["seeds"]
    assert [one["seed"] for one in seeds] == [0, 1]
    assert seeds[0]["attacks"]["pgd20"]["class_accuracy"] == [0.7, 0.6]
    assert "robust (wide-cnn, trades): natural 85.0 / 80.0" in page.read_text()


def test_nothing_finished_is_still_a_page():
    empty = board(Entry(Row("sat", "sat"), (), {0: "not finished"}))
    assert cells(board_markdown(empty), "sat", "Ranked")[-1] == "seed 0: not finished"
    assert board_json(empty)["entries"][0]["seeds"] == []


def test_a_class_without_images_and_a_baseline_at_zero():
    zero = Entry(Row("sat", "sat"), (result(0, (0.8, 0.0)),), {})
    better = Entry(Row("absld", "absld"), (result(0, (0.7, 0.6)),), {})
    page = board_markdown(board(zero, better))
    assert cells(page, "absld", "Ranked")[10] == "–"  # noqa: RUF001 - rho is undefined
    assert board_json(board(zero, better))["entries"][0]["difference"]["sat"]["rho"] != 0
