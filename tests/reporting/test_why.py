"""The report's "Why": sentences by hand, tables, the graph, and pages of many classes."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from fairbench.data import class_names
from fairbench.metrics.diagnosis import diagnose
from fairbench.reporting.figures_why import Why, rankings_of, why_of
from fairbench.reporting.page import build_page
from fairbench.reporting.plots_why import graph_nodes
from fairbench.reporting.report import write_report
from fairbench.reporting.table import Cell, Column, Table
from fairbench.reporting.view import RunView, view_runs
from fairbench.reporting.why import why
from fairbench.runs import Run


def view_of(run: Run) -> RunView:
    return view_runs([run])[0].views[0]


def words(text: str) -> str:
    return text.replace("\u00a0", " ")


def test_sentences_by_hand(ten: Callable[..., Run]) -> None:
    """Of 20 cats 1 is right under aa, 8 were wrong before, and all of the others' errors go to the next class too.

    Errors under aa: 8 6 11 19 12 11 7 8 7 7 = 96. To the next class within animals: bird, cat, deer, dog, frog
    (11 + 19 + 12 + 11 + 7), within vehicles: airplane, ship, truck -> airplane (8 + 7 + 7): 82 of 96.
    """
    found = diagnose(ten("a"))
    told = [words(sentence) for sentence in why(found, class_names.CIFAR10)]
    assert told[0].startswith(
        "Under aa (AutoAttack), 19 of 20 images of “cat” are not classified right, 8 of them wrong before; 100.0 % of "
        "those go to “deer”. The class that attracts most images of others is “deer” (19, 19 of them “cat”)."
    )
    assert found.kin.errors == 96
    assert found.kin.within == 82
    assert told[1].startswith("85.4 % of all errors stay within animals and vehicles (95 % interval ")
    assert "which are 10 points" in told[2]
    assert "no cause is shown" in told[2]
    assert told[3].startswith("From pgd20 to aa the average falls by 5.0 points (")
    assert told[4].startswith("Of 45 pairs of classes, ")
    assert len(told) == 5


def test_the_page_has_sentences_graph_and_numbers(ten: Callable[..., Run]) -> None:
    run = ten("a")
    assert run.folder is not None
    page = write_report([run.folder]).path.read_text()
    assert page.index("Why these classes?") > page.index('id="a-classes"')
    assert 'id="a-graph"' in page
    for name in ("a-why", "a-correlations", "a-rankings", "a-gains", "a-superclasses"):
        assert f'id="table-{name}"' in page
        assert (run.folder / "tables" / f"{name}.csv").exists()
    assert (run.folder / "plots" / "a-graph.svg").read_text().count("<path") > 10


def test_a_sweep_has_its_plot(make_run: Callable[..., Run]) -> None:
    budget = {"norm": "Linf", "eps": 0.1, "steps": 20, "step_size": 0.025, "start": "uniform", "restarts": 1}
    attacks = {
        "pgd20": {"family": "pgd", **budget},
        **{f"tpgd20(T={t})": {"family": "tpgd", "T": t, "where": "divide", **budget} for t in (0.1, 10.0)},
    }
    hits = {"natural": [9, 9, 9], "pgd20": [5, 6, 7], "tpgd20(T=0.1)": [3, 5, 7], "tpgd20(T=10.0)": [7, 7, 7]}
    shown = why_of(view_of(make_run("sweep", hits, 10, attacks=attacks)))
    plot = next(plot for plot in shown.plots if plot.key == "sweep-temperature")
    cells = [[cell.text for cell in row] for row in plot.table.rows]
    assert [row[:4] for row in cells] == [["0.1", "50.0", "30.0", "10.0"], ["10", "70.0", "70.0", "−10.0"]]  # noqa: RUF001
    assert "Lowest average 50.0 % at T = 0.1" in plot.svg


@pytest.mark.parametrize("hits", [{"natural": [9, 8]}, {"natural": [10, 10], "pgd20": [10, 10]}, {"pgd20": [0, 0]},
                                  {"natural": [10], "pgd20": [3]}])  # fmt: skip
def test_corner_cases_have_a_page(hits: dict[str, list[int]], make_run: Callable[..., Run]) -> None:
    run = make_run("corner", hits, 10)
    assert run.folder is not None
    page = write_report([run.folder]).path.read_text()
    shown = re.sub(r"<script>.*?</script>|<style>.*?</style>|<[^>]*>", " ", page, flags=re.DOTALL)
    assert "nan" not in shown.lower().split()


def test_markup_stays_text(evil: Run) -> None:
    assert evil.folder is not None
    page = write_report([evil.folder]).path.read_text()
    assert "<script>document" not in page
    assert "<img src=x" not in page


@pytest.mark.parametrize(("names", "nodes"), [(class_names.CIFAR100, "superclasses"), (map(str, range(150)), "")])
def test_many_classes(names: tuple[str, ...], nodes: str, make_run: Callable[..., Run]) -> None:
    names = tuple(names)
    rng = np.random.default_rng(0)
    natural = rng.integers(6, 11, len(names))
    hits = {"natural": natural.tolist(), "pgd20": (natural - rng.integers(0, 6, len(names))).tolist()}
    run = make_run("many", hits, 10, names=names)
    assert graph_nodes(diagnose(run)) == nodes
    assert [plot.key for plot in why_of(view_of(run)).plots] == (["many-graph"] if nodes else [])


def test_models_are_ranked_against_each_other(ten: Callable[..., Run]) -> None:
    (samples,) = view_runs([ten("a", "first"), ten("b", "second", 1)])
    table = rankings_of(samples)
    assert table is not None
    assert [cell.text for cell in table.rows[0][:2]] == ["first", "second"]
    assert build_page([samples]).comparisons[0].rankings == table
    (alone,) = view_runs([ten("c")])
    assert rankings_of(alone) is None


def test_a_damaged_record_of_the_classifier_is_bad_input(ten: Callable[..., Run]) -> None:
    from fairbench.errors import BadInput

    run = ten("a")
    assert isinstance(run.folder, Path)
    (run.folder / "classifier.json").write_text('{"layer": "fc", "weight_norm": [1, 2]}')
    with pytest.raises(BadInput, match="10 numbers"):
        write_report([run.folder])


def test_a_table_too_wide_for_a_screen_is_shown_group_by_group() -> None:
    heads = [Column("class", text=True), *(Column(head, group) for group in "abcd" for head in ("x", "y", "z"))]
    row = (Cell("cat"), *(Cell(str(place)) for place in range(12)))
    wide = Table("t", "Gains", tuple(heads), (row,), ("note",))
    small = Table("s", "Gains", tuple(heads[:4]), (row[:4],))
    single = Table("p", "Plain", tuple(Column(str(place)) for place in range(13)), (row,))
    shown = Why((), (), (wide, small, single)).narrow
    assert [table.name for table in shown] == ["t-1", "t-2", "t-3", "t-4", "s", "p"]
    assert [cell.text for cell in shown[1].rows[0]] == ["cat", "3", "4", "5"]
    assert (shown[1].caption, shown[0].notes, shown[3].notes) == ("Gains: b", (), ("note",))
