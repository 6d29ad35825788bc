from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from statsmodels.stats.proportion import proportion_confint

from fairbench.reporting.figures import training_log
from fairbench.reporting.plots_training_classes import class_series
from fairbench.reporting.table import Cell
from fairbench.reporting.table_formats import to_csv, to_markdown, to_text
from fairbench.reporting.tables import (
    attack_tables,
    attacks_table,
    class_run_table,
    class_series_table,
    classes_table,
    confusion_table,
    papers_table,
    parts_by_class_table,
    parts_table,
    summary_table,
    training_table,
)
from fairbench.reporting.tables_records import (
    flags_table,
    one_run_tables,
    provenance_tables,
    samples_table,
    shared_samples_table,
)
from fairbench.reporting.view import view_runs
from fairbench.runs import Run


def _texts(cells: tuple[Cell, ...]) -> list[str]:
    return [f"{cell.text} {cell.remark}".strip() for cell in cells]


def test_the_papers_table_by_hand(make_run: Callable[..., Run]) -> None:
    """Class accuracies .9 and .5 (natural), .6 and .2 (pgd20); for net b .8 and .6, .5 and .3.

    a, natural: average .7, worst .5, SD (.9 - .5) / 2 = .2, NSD .2 / .7 = .286. pgd20: .4, .2, .2, .5.
    b, natural: .7, .6, .1, .143. pgd20: .4, .3, .1, .25. Averages tie; b's worst class, SD and NSD are best.
    """
    a = make_run("a", {"natural": [9, 5], "pgd20": [6, 2]}, 10, model="a")
    b = make_run("b", {"natural": [8, 6], "pgd20": [5, 3]}, 10, model="b")
    table = papers_table(view_runs([a, b])[0])
    heads = ("Avg", "Worst", "Equal", "SD", "SD equal", "NSD", "NSD equal")
    assert [(column.group, column.head) for column in table.columns] == [
        ("", "Model"),
        *((attack, head) for attack in ("natural", "pgd20") for head in heads),
    ]
    kept = [0, 1, 2, 4, 6, 8, 9, 11, 13]
    assert [[_texts(row)[i] for i in kept] for row in table.rows] == [
        ["a", "70.0", "50.0 automobile", "20.0", "0.286", "40.0", "20.0 automobile", "20.0", "0.500"],
        ["b", "70.0", "60.0 automobile", "10.0", "0.143", "40.0", "30.0 automobile", "10.0", "0.250"],
    ]
    assert [[row[i].best for i in kept] for row in table.rows] == [
        [False, True, False, False, False, True, False, False, False],
        [False, True, True, True, True, True, True, True, True],
    ]
    assert all(row[i].interval for row in table.rows for i in (1, 2, 8, 9)), (
        "a worst class never stands without interval"
    )
    assert all(row[i].text for row in table.rows for i in (3, 5, 7, 10, 12, 14)), "nor without what equal ones show"
    assert table.caption == "toy test: all 20 images (10 per class), Linf, eps 8/255"


def test_what_equal_classes_would_show_stands_beside_worst_and_spread(make_run: Callable[..., Run]) -> None:
    """1 of 2 images of one class and none of the other: pooled 1/4, so each class has 0, 1, 2 hits with 9, 6, 1 of 16.

    Of 256 pairs 81 + 36 + 1 are ties. The others: (0, 1) 108, (1, 2) 12, (0, 2) 18. SD is half the gap: 1/4, 1/4, 1/2,
    on average (120 / 4 + 18 / 2) / 256 = .1523; the lowest is 1/2 in 36 + 12, 1 in 1: 25/256 = .0977. NSD is SD / mean,
    undefined where nothing is right (81): 108 x 1 + 12 x 1/3 + 18 x 1 of 175 = .743. SD and NSD are simulated.
    """
    view_set = view_runs([make_run("a", {"natural": [2, 2], "pgd20": [1, 0]}, 2, model="a")])[0]
    row = papers_table(view_set).rows[0]
    equal = {"worst": row[10], "SD": row[12], "NSD": row[14]}
    assert float(equal["worst"].text) == pytest.approx(9.77, abs=0.06)
    assert float(equal["SD"].text) == pytest.approx(15.23, abs=0.4)
    assert float(equal["NSD"].text) == pytest.approx(0.743, abs=0.015)
    assert [row[5].text, row[7].text] == ["0.0", "0.000"], "where all are right, equal classes do not spread"
    summary = summary_table([view_set])
    heads = [column.head for column in summary.columns]
    assert heads[-4:] == ["SD", "SD if equal", "NSD", "NSD if equal"]
    assert [summary.rows[1][place].text for place in (-3, -1)] == [equal["SD"].text, equal["NSD"].text]
    attacks = attacks_table(view_set.views[0])
    assert (attacks.columns[-1].head, attacks.rows[1][-1].text) == ("SD if equal", equal["SD"].text)


def test_an_attack_that_only_one_run_saw_leaves_a_gap(make_run: Callable[..., Run]) -> None:
    a = make_run("a", {"natural": [9, 5], "aa": [6, 2]}, 10, model="a")
    b = make_run("b", {"natural": [8, 6]}, 10, model="b")
    table = papers_table(view_runs([a, b])[0])
    assert _texts(table.rows[1])[8:] == [""] * 7
    assert not any(cell.best for cell in table.rows[0][8:])


def test_rows_from_different_samples_say_so(make_run: Callable[..., Run]) -> None:
    a = make_run("a", {"natural": [9, 5]}, 10, model="a")
    few = make_run("few", {"natural": [2, 1]}, 2, model="a", selection="first 2 of each class")
    table = summary_table(view_runs([a, few]))
    assert [column.head for column in table.columns[:4]] == ["model", "samples", "attack", "n"]
    assert [_texts(row)[:4] for row in table.rows] == [
        ["a", "toy, all", "natural", "20"],
        ["a", "toy, first 2 of each class", "natural", "4"],
    ]
    alone = summary_table(view_runs([a]))
    assert [column.head for column in alone.columns[:3]] == ["model", "attack", "n"]


def test_classes_come_lowest_first_with_absent_ones_last(make_run: Callable[..., Run]) -> None:
    run = make_run("a", {"natural": [9, 5, 7], "pgd20": [6, 6, 1]}, 10, names=["x", "y", "z", "never"])
    table = classes_table(view_runs([run])[0].views[0], "a")
    assert [_texts(row) for row in table.rows] == [
        ["z", "10", "70.0", "10.0", ""],
        ["x", "10", "90.0", "60.0", ""],
        ["y", "10", "50.0", "60.0", ""],
        ["never", "0", "", "", ""],
    ]


def test_a_table_of_classes_has_limits_for_one_class_and_for_all_at_once(make_run: Callable[..., Run]) -> None:
    """1 of 10, of two classes: Wilson 1.8 to 40.4; exact at the level sqrt(.95), each side (1 - sqrt(.95)) / 2."""
    run = make_run("a", {"natural": [10, 10], "pgd20": [1, 6]}, 10, names=["x", "y"])
    table = classes_table(view_runs([run])[0].views[0], "a")
    assert table.columns[-1].head == "pgd20 %, all at once"
    alone, together = table.rows[0][-2:]
    assert (alone.text, alone.low, alone.high) == ("10.0", "1.8", "40.4")
    low, high = proportion_confint(1, 10, 1 - 0.95**0.5, method="beta")
    assert (together.text, together.low, together.high) == ("", f"{100 * low:.1f}", f"{100 * high:.1f}")
    assert together.interval in to_text(table)
    assert f"({together.interval})" not in to_markdown(table), "it is the cell, not an addition to an undefined value"
    head, first = to_csv(table).splitlines()[:2]
    assert head.endswith('pgd20 % high,"pgd20 %, all at once low","pgd20 %, all at once high"')
    assert first == f"x,10,100.0,72.2,100.0,10.0,1.8,40.4,{together.low},{together.high}"
    assert any("all classes together" in note for note in table.notes)


def test_confusions_by_hand(make_run: Callable[..., Run]) -> None:
    """Wrong images go to the next class: 8 of 10 birds to airplane, 4 of 10 airplanes to automobile, and so on."""
    run = make_run("a", {"natural": [10, 10, 10], "pgd20": [6, 9, 2]}, 10)
    view = view_runs([run])[0].views[0]
    table = confusion_table(view, "pgd20", "a", limit=2)
    assert [_texts(row) for row in table.rows] == [
        ["bird", "airplane", "8", "80.0"],
        ["airplane", "automobile", "4", "40.0"],
    ]
    assert table.notes == ("The 2 largest of 3.",)
    assert confusion_table(view, "natural", "a").rows == ()


def test_class_by_run_and_parts(make_run: Callable[..., Run]) -> None:
    hits = {"natural": [9, 9], "aa": [4, 2], "aa/apgd-ce": [5, 3], "aa/square": [4, 2]}
    one = view_runs([make_run("a", hits, 10, model="a"), make_run("b", hits, 10, model="b")])[0]
    assert [_texts(row) for row in class_run_table(one, "aa").rows] == [
        ["airplane", "40.0", "40.0"],
        ["automobile", "20.0", "20.0"],
    ]
    assert [_texts(row)[:3] for row in parts_table(one.views[0], "aa", "a").rows] == [
        ["aa/apgd-ce", "40.0", "30.0 automobile"],
        ["aa/square", "30.0", "20.0 automobile"],
    ]
    assert [_texts(row) for row in parts_by_class_table(one.views[0], "aa", "a").rows] == [
        ["automobile", "90.0", "-60.0", "-10.0", "20.0"],
        ["airplane", "90.0", "-40.0", "-10.0", "40.0"],
    ]
    idle = view_runs([make_run("c", {**hits, "aa/square": [5, 3], "aa": [5, 3]}, 10)])[0].views[0]
    assert [cell.text for cell in parts_by_class_table(idle, "aa", "a").rows[0]][-2:] == ["0.0", "30.0"]


def test_which_samples_each_attack_saw(make_run: Callable[..., Run]) -> None:
    run = make_run("r", {"natural": [9, 5], "pgd20": [6, 2]}, 10, selection="first 10 of each class")
    rows = samples_table(view_runs([run])).rows
    assert [_texts(row) for row in rows] == [
        ["net", "r", "natural", "20", "10", "first 10 of each class", "toy test", "none", ""],
        ["net", "r", "pgd20", "20", "10", "first 10 of each class", "toy test", "Linf, eps 8/255",
         "steps=20, step_size=0.00784314"],
    ]  # fmt: skip


def test_a_page_says_once_what_runs_share(make_run: Callable[..., Run]) -> None:
    hits = {"natural": [9, 5], "pgd20": [6, 2]}
    one, two, three = (make_run(name, hits, 10, model=name) for name in "abc")
    few = make_run("d", {"natural": [2, 1]}, 2, selection="first 2 of each class")
    rows = shared_samples_table(samples_table(view_runs([one, two, three, few]))).rows
    assert [_texts(row)[:4] + _texts(row)[6:7] for row in rows] == [
        ["natural", "20", "10", "all", "a, b, c"],
        ["pgd20", "20", "10", "all", "a, b, c"],
        ["natural", "4", "2", "first 2 of each class", "d"],
    ]
    rows = shared_samples_table(samples_table(view_runs([one, two]))).rows
    assert [row[6].text for row in rows] == ["all 2", "all 2"]


def test_flags_name_their_class(make_run: Callable[..., Run]) -> None:
    flag = {"name": "zero-gradient", "severity": "warning", "class": 1, "evidence": "e", "advice": "a"}
    run = make_run("r", {"natural": [9, 5]}, 10, flags=[flag, {"name": "x", "class": None}, {"name": "y", "class": 99}])
    assert [_texts(row)[2:5] for row in flags_table(view_runs([run])).rows] == [
        ["zero-gradient", "warning", "automobile"],
        ["x", "", ""],
        ["y", "", "99"],
    ]


def test_provenance_tells_what_is_shared_from_what_differs(make_run: Callable[..., Run]) -> None:
    a = make_run("a", {"natural": [9, 5]}, 10, model="a", seconds=1.5)
    b = make_run("b", {"natural": [9, 5]}, 10, model="b", seconds=2.5, accepted=["range"])
    shared, by_run = provenance_tables(view_runs([a, b]))
    told = {row[0].text: row[1].text for row in shared.rows}
    assert told["data sha256"] == a.record["dataset"]["sha256"]
    assert told["seeds"] == "attack=0"
    assert [column.head for column in by_run.columns] == [
        "run",
        "model",
        "model sha256",
        "checks overridden",
        "seconds",
    ]
    assert [_texts(row) for row in by_run.rows] == [
        ["a", "a", a.record["model"]["sha256"][:12], "none", "1.5"],
        ["b", "b", b.record["model"]["sha256"][:12], "range", "2.5"],
    ]
    (alone,) = provenance_tables(view_runs([a]))
    assert {row[0].text: row[1].text for row in alone.rows}["model sha256"] == a.record["model"]["sha256"]


def test_provenance_of_one_run_has_its_values_in_order(make_run: Callable[..., Run]) -> None:
    runs = [make_run(name, {"natural": [9, 5]}, 10, model="net", seconds=place) for place, name in enumerate("ab")]
    table = provenance_tables(view_runs(runs))[1]
    assert [(one.caption, [_texts(row) for row in one.rows]) for one in one_run_tables(table)] == [
        ("a", [["seconds", "0"]]),
        ("b", [["seconds", "1"]]),
    ]


def test_the_papers_table_in_one_table_per_attack(make_run: Callable[..., Run]) -> None:
    a = make_run("a", {"natural": [9, 5], "pgd20": [6, 2]}, 10, model="a")
    b = make_run("b", {"natural": [8, 6]}, 10, model="b")
    whole = papers_table(view_runs([a, b])[0])
    natural, pgd = attack_tables(whole)
    assert (natural.caption, pgd.caption) == ("natural", "pgd20")
    assert natural.rows == tuple(row[:8] for row in whole.rows)
    assert pgd.rows == ((whole.rows[0][0], *whole.rows[0][8:]),), "a run without the attack has no row of dashes"
    heads = ["Model", "Avg", "Worst", "Equal", "SD", "SD equal", "NSD", "NSD equal"]
    assert [column.head for column in pgd.columns] == heads


def test_training_tables(make_run: Callable[..., Run], tmp_path: Path) -> None:
    view = view_runs([make_run("a", {"natural": [9, 5]}, 10)])[0].views[0]
    (tmp_path / "a" / "training.jsonl").write_text(
        '{"epoch": 0, "lr": 0.1, "loss": {"total": 2.0}, "validation": null, "class_state": {"w": [1, 2]}}\n'
        '{"epoch": 1, "lr": 0.01, "loss": {"total": 1.5}, "validation": {"pgd20": {"average": 0.5,'
        ' "worst_class": 0.25}}, "class_state": {"w": [0.5, 2.5]}}\n{"epoch": 2, "lr"'
    )
    log = training_log(view)
    assert [_texts(row) for row in training_table(log, "a", "a").rows] == [
        ["0", "0.10000", "2.000", "", ""],
        ["1", "0.01000", "1.500", "50.0", "25.0"],
    ]
    assert [_texts(row) for row in class_series_table(class_series(log, 2), view, "a").rows] == [
        ["airplane", "1.000", "0.500"],
        ["automobile", "2.000", "2.500"],
    ]


def test_digits_say_that_their_radius_is_ours(make_run: Callable[..., Run]) -> None:
    run = make_run("r", {"natural": [9, 5]}, 10)
    assert samples_table(view_runs([run])).notes == ()
    digits = replace(run, record={**run.record, "dataset": {**run.record["dataset"], "name": "digits"}})
    assert "fairbench's own choice" in samples_table(view_runs([digits])).notes[0]


def test_the_table_of_attacks_has_what_the_headline_is_made_of(ten: Callable[..., Run]) -> None:
    (view,) = view_runs([ten("r")])[0].views
    table = attacks_table(view)
    assert [row[0].text for row in table.rows] == ["natural", "pgd20", "aa"]
    _, average, worst, equal, sure, deviation, _ = table.rows[2]
    metrics = view.of("aa")
    low, high = metrics["interval"]["worst_class"]
    assert (average.text, worst.text, worst.remark) == ("52.0", "5.0", "cat")
    assert (worst.low, worst.high) == (f"{100 * low:.1f}", f"{100 * high:.1f}")
    assert equal.text == f"{100 * metrics['if_equal']['worst_class']['expected']:.1f}"
    assert sure.text.replace("\u00a0", " ") == "> 99 %"
    assert deviation.text == f"{100 * metrics['std']:.1f}"
    assert max(len(line) for line in to_text(table, 80).splitlines() if not line.startswith("If")) <= 80
