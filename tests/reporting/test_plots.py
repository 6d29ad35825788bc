from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest

from fairbench.errors import BadInput
from fairbench.outcomes import Outcomes
from fairbench.reporting.figures import class_plot, run_plots, set_class_plot, set_plots, training_plots
from fairbench.reporting.plot_style import inline, share_colour, shorten
from fairbench.reporting.plots_classes import class_dots, class_order, shown_classes
from fairbench.reporting.plots_one_run import confusion_map
from fairbench.reporting.plots_training import loss_curves, read_log
from fairbench.reporting.plots_training_classes import class_curves, class_series
from fairbench.reporting.view import view_runs
from fairbench.runs import Run

SVG = "{http://www.w3.org/2000/svg}"


def _words(svg: str) -> list[str]:
    return ["".join(node.itertext()) for node in ET.fromstring(svg).iter(f"{SVG}text")]


def test_equal_runs_give_equal_bytes_whatever_the_persons_settings(ten: Callable[..., Run]) -> None:
    view = view_runs([ten("a")])[0].views[0]
    first = [plot.svg for plot in [class_plot(view), *run_plots(view)]]
    with mpl.rc_context({"font.size": 30, "svg.hashsalt": "other", "svg.fonttype": "path", "text.usetex": False}):
        again = [plot.svg for plot in [class_plot(view), *run_plots(view)]]
    assert first == again
    assert len(first) == 4
    assert not any(re.search(r"\b20\d\d-\d\d-\d\d\b|matplotlib\.org", svg) for svg in first), "no dates, no makers"


def test_every_plot_is_well_formed_described_and_tabled(ten: Callable[..., Run]) -> None:
    one = view_runs([ten("a", "first"), ten("b", "second", better=1)])[0]
    every = set_class_plot(one)
    assert every is not None
    plots = [every, *set_plots(one), *(plot for view in one.views for plot in [class_plot(view), *run_plots(view)])]
    assert len({plot.key for plot in plots}) == len(plots) == 11
    for plot in plots:
        root = ET.fromstring(plot.svg)
        assert root.find(f"{SVG}title") is not None
        assert len(root.findtext(f"{SVG}desc") or "") > 20
        assert plot.table.rows
        assert plot.text


def test_the_class_plot_shows_every_class_lowest_first(ten: Callable[..., Run]) -> None:
    view = view_runs([ten("a")])[0].views[0]
    words = _words(class_dots(view, "aa"))
    names = [word for word in words if word in view.class_names]
    assert names[0] == "cat"
    assert set(names) == set(view.class_names)
    assert {"average", "natural", "lowest, if all equal", "aa, 95 % interval"} <= set(words)


def test_markup_in_names_stays_text(evil: Run) -> None:
    one = view_runs([evil])[0]
    view = one.views[0]
    for plot in [class_plot(view), *run_plots(view), *training_plots(view)]:
        tags = {node.tag.removeprefix(SVG) for node in ET.fromstring(plot.svg).iter()}
        assert tags <= {"svg", "title", "desc", "defs", "style", "g", "path", "text", "use", "clipPath", "rect"}
        assert not any(name.startswith("on") for node in ET.fromstring(plot.svg).iter() for name in node.attrib)
    words = _words(class_dots(view, "pgd20"))
    assert {shorten(name) for name in view.class_names} <= set(words), "no mathematics is read into dollars"


def test_names_that_look_like_our_own_markup_survive_going_inline(make_run: Callable[..., Run]) -> None:
    names = [' id="figure_1" ', 'xlink:href="#x"', "url(#p1)", "font-family: x;"]
    run = make_run("r", {"natural": [9, 9, 9, 9], "pgd20": [5, 4, 3, 2]}, 10, names=names)
    svg = class_dots(view_runs([run])[0].views[0], "pgd20")
    words = {"".join(node.itertext()).strip() for node in ET.fromstring(inline(svg, "k")).iter("text")}
    assert {name.strip() for name in names} <= words


def test_inline_plots_share_no_ids_and_point_only_at_themselves(ten: Callable[..., Run]) -> None:
    view = view_runs([ten("a")])[0].views[0]
    svg = class_dots(view, "aa")
    one, two = inline(svg, "one"), inline(svg, "two")
    ids = [set(re.findall(r' id="([^"]+)"', text)) for text in (one, two)]
    assert ids[0]
    assert not ids[0] & ids[1]
    for text, found in zip((one, two), ids, strict=True):
        assert set(re.findall(r'href="#([^"]+)"', text)) | set(re.findall(r"url\(#([^)]+)\)", text)) <= found
        assert "http" not in text
        assert "<?xml" not in text
        assert "<style" not in text


def test_many_classes_keep_the_lowest_and_the_highest(make_run: Callable[..., Run]) -> None:
    assert shown_classes(range(40)) == (list(range(40)), 0)
    assert shown_classes(range(41)) == ([*range(22), *range(33, 41)], 22)
    names = [f"class {i}" for i in range(60)]
    run = make_run("r", {"natural": [9] * 60, "pgd20": [i // 8 for i in range(60)]}, 10, names=names)
    view = view_runs([run])[0].views[0]
    words = _words(class_dots(view, "pgd20"))
    assert [word for word in words if word in names] == [f"class {i}" for i in [*range(22), *range(52, 60)]]
    assert "… 30 classes between are in the table …" in words
    flows = _words(confusion_map(view, "pgd20"))
    assert "class 0 → class 1" in flows, "more than 20 classes: the largest confusions instead of a map"


def test_absent_classes_are_left_out_of_rows_but_not_of_predictions(make_run: Callable[..., Run]) -> None:
    run = make_run("r", {"natural": [9, 9], "pgd20": [5, 4]}, 10, names=["a", "b", "never"])
    frame = run.outcomes.frame.assign(prediction=lambda f: f["prediction"].where(f["prediction"] == f["label"], 2))
    view = view_runs([replace(run, outcomes=Outcomes(frame))])[0].views[0]
    assert class_order(view.of("pgd20")["class_accuracy"]) == [1, 0]
    assert "never" not in _words(class_dots(view, "pgd20"))
    assert _words(confusion_map(view, "pgd20")).count("never") == 1, "a column, no row"
    assert class_order([None, 0.5, 0.5, 0.1]) == [3, 1, 2]


@pytest.mark.parametrize("hits", [[0, 0], [10, 10]])
def test_all_or_nothing_still_draws(make_run: Callable[..., Run], hits: list[int]) -> None:
    one = view_runs([make_run(name, {"natural": hits, "pgd20": hits}, 10, model=name) for name in "ab"])[0]
    for plot in [*set_plots(one), class_plot(one.views[0]), *run_plots(one.views[0])]:
        assert ET.fromstring(plot.svg).tag == f"{SVG}svg"


def test_darker_is_more_and_text_stands_out() -> None:
    def light(colour: str) -> float:
        red, green, blue = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (red, green, blue)]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    for broken in (False, True):
        shades = [share_colour(i / 50, broken=broken) for i in range(51)]
        lights = [light(cell) for cell, _ in shades]
        assert lights == sorted(lights, reverse=True)
        for cell, ink in shades:
            high, low = sorted((light(cell), light(ink)), reverse=True)
            assert (high + 0.05) / (low + 0.05) >= 4.5, f"contrast of {ink} on {cell}"


def test_labels_are_shortened_in_the_middle() -> None:
    assert shorten("class number 12", 15) == "class number 12"
    assert shorten("class number 12", 12) == "class…er 12"
    assert len(shorten("x" * 100, 18)) == 18


def test_a_training_log_is_read_up_to_where_a_kill_cut_it(tmp_path: Path) -> None:
    log = tmp_path / "training.jsonl"
    log.write_text('{"epoch": 0}\n{"epoch": 1}\n{"epo')
    assert [entry["epoch"] for entry in read_log(log)] == [0, 1]
    log.write_text('{"epoch": 0}\nnonsense\n{"epoch": 2}\n')
    with pytest.raises(BadInput, match="line 2 of the training log"):
        read_log(log)


def test_only_class_state_that_moves_is_drawn() -> None:
    log = [{"epoch": e, "class_state": {"t": [1.0, 1.0 + e], "still": [1, 1], "other": [e]}} for e in range(3)]
    (series,) = class_series(log, 2)
    assert (series.name, series.epochs) == ("t", (0, 1, 2))
    assert series.values.tolist() == [[1, 1], [1, 2], [1, 3]]
    assert class_series([{"epoch": 0, "class_state": None}], 2) == []


def test_each_class_on_validation_images_and_its_radius_are_drawn() -> None:
    """Accuracy in percent under the attack, not the natural one; radii in 255ths; an absent class has no line."""
    log = [
        {"epoch": e, "class_eps": [0.1 * e, 0.2], "class_state": {},
         "validation": {name: {"class_accuracy": [0.5 / e, None]} for name in ("natural", "pgd10")}}
        for e in (1, 2)
    ]  # fmt: skip
    accuracy, radius = class_series(log, 2)
    assert (accuracy.name, accuracy.values[:, 0].tolist()) == ("pgd10", [50, 25])
    assert np.isnan(accuracy.values[:, 1]).all()
    assert radius.values == pytest.approx(np.array([[25.5, 51], [51, 51]]))
    assert "<cat>" in _words(class_curves(accuracy, ["<cat>", "dog"], "run"))
    assert "dog" not in _words(class_curves(accuracy, ["<cat>", "dog"], "run"))


def test_a_natural_training_shows_natural_accuracy_per_class() -> None:
    (series,) = class_series([{"epoch": 1, "validation": {"natural": {"class_accuracy": [0.5, 1]}}}], 2)
    assert series.name == "natural"


def test_a_term_without_values_has_no_key() -> None:
    """Natural training has no robust term: the log says null."""
    log = [{"epoch": e, "loss": {"natural": 1.0 / e, "robust": None, "total": 1.0 / e}} for e in (1, 2)]
    words = _words(loss_curves(log, "natural"))
    assert {"natural", "total"} <= set(words)
    assert "robust" not in words


def test_training_plots_name_the_worst_class_curve(evil: Run) -> None:
    plots = training_plots(view_runs([evil])[0].views[0])
    assert [plot.key for plot in plots] == ["evil-training", "evil-loss", "evil-state1"]
    assert "<b>, worst class" in _words(plots[0].svg)
