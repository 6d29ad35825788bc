from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from fairbench.errors import BadInput
from fairbench.json_text import to_json
from fairbench.reporting.view import by_model, view_runs
from fairbench.runs import Run

TWO = {"natural": [9, 8], "pgd20": [5, 4]}


def test_runs_on_the_same_samples_share_a_set_and_others_do_not(make_run: Callable[..., Run]) -> None:
    few = {"natural": [2, 2], "pgd20": [1, 1], "aa": [1, 0]}
    runs = [
        make_run("a-first2", few, 2, model="a", selection="first 2 of each class"),
        make_run("a-all", TWO, 10, model="a"),
        make_run("b-all", TWO, 10, model="b"),
        make_run("b-first2", few, 2, model="b", selection="first 2 of each class"),
    ]
    sets = view_runs(runs)
    assert [[view.label for view in one.views] for one in sets] == [["a", "b"], ["a", "b"]]
    assert [one.samples for one in sets] == [
        "toy test: all 20 images (10 per class)",
        "toy test: 4 images, first 2 of each class (2 per class)",
    ]
    assert [one.strongest for one in sets] == ["pgd20", "aa"]
    assert {name: len(views) for name, views in by_model(sets).items()} == {"a": 2, "b": 2}


@pytest.mark.parametrize(
    "difference",
    [
        {"threat": {"norm": "L2", "eps": 8 / 255, "eps_text": "8/255"}},
        {"threat": {"norm": "Linf", "eps": 4 / 255, "eps_text": "4/255"}},
        {"protocol": 2},
        {"attacks": {"pgd20": {"steps": 2}}},
    ],
)
def test_another_threat_protocol_or_attack_is_another_set(
    make_run: Callable[..., Run], difference: dict[str, Any]
) -> None:
    assert len(view_runs([make_run("a", TWO, 10), make_run("b", TWO, 10, model="b", **difference)])) == 2


def test_block_size_threads_and_device_do_not_part_runs(make_run: Callable[..., Run]) -> None:
    other = make_run("b", TWO, 10, model="b", block_size=7, threads=2, device="cuda", precision="bf16")
    assert len(view_runs([make_run("a", TWO, 10), other])) == 1


def test_names_are_told_apart(make_run: Callable[..., Run]) -> None:
    runs = [make_run("x", TWO, 10), make_run("y", TWO, 10), make_run("z", TWO, 10)]
    runs[2] = replace(runs[2], record={**runs[2].record, "model": {"name": "net", "sha256": "1" * 64}})
    views = view_runs(runs)[0].views
    sha256 = runs[0].record["model"]["sha256"]
    assert [view.model for view in views] == [f"net ({sha256[:8]})", f"net ({sha256[:8]})", "net (11111111)"]
    assert [view.label for view in views] == [f"net ({sha256[:8]}) · x", f"net ({sha256[:8]}) · y", "net (11111111)"]


def test_file_stems_are_safe_and_unique(make_run: Callable[..., Run]) -> None:
    run = make_run("a", TWO, 10)
    names = ["../../etc", "ä ö", "a", "A b", "a-b", "a b"]
    stems = [view.stem for one in view_runs([replace(run, name=name) for name in names]) for view in one.views]
    assert len(set(stems)) == len(names)
    assert all(set(stem) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") for stem in stems)
    assert not any(stem.startswith((".", "-")) for stem in stems)


def test_the_strongest_attack_has_the_lowest_average_and_parts_do_not_count(make_run: Callable[..., Run]) -> None:
    hits = {"natural": [9, 9], "pgd20": [5, 5], "aa": [4, 4], "aa/apgd-ce": [5, 5], "aa/apgd-t": [0, 0]}
    view = view_runs([make_run("a", hits, 10)])[0].views[0]
    assert view.attacks == ("natural", "pgd20", "aa")
    assert view.strongest == "aa"
    assert view.parts("aa") == ("aa/apgd-ce", "aa/apgd-t")
    alone = view_runs([make_run("b", {"natural": [9, 9]}, 10)])[0]
    assert alone.strongest == alone.views[0].strongest == "natural"


def test_a_comparison_uses_an_attack_that_most_runs_hold(make_run: Callable[..., Run]) -> None:
    runs = [
        make_run("a", {"natural": [9, 9], "pgd20": [5, 5], "aa": [1, 1]}, 10, model="a"),
        make_run("b", {"natural": [9, 9], "pgd20": [6, 6]}, 10, model="b"),
    ]
    assert view_runs(runs)[0].strongest == "pgd20"
    nothing = [runs[0], make_run("c", {"natural": [8, 9]}, 10, model="c")]
    assert view_runs(nothing)[0].strongest == "natural"


def test_metrics_are_the_file_and_undefined_is_none(make_run: Callable[..., Run]) -> None:
    view = view_runs([make_run("a", {"natural": [0, 0], "pgd20": [0, 0]}, 3)])[0].views[0]
    assert json.loads(to_json(view.metrics)) == json.loads(view.metrics_json)
    assert view.of("pgd20")["normalized_std"] is None


@pytest.mark.parametrize("part", ["dataset", "model", "threat"])
def test_an_incomplete_record_is_one_sentence(make_run: Callable[..., Run], part: str) -> None:
    run = make_run("a", TWO, 10)
    with pytest.raises(BadInput, match=rf"run record of 'a' is not complete: {part} lacks"):
        view_runs([replace(run, record={**run.record, part: {}})])


def test_a_table_that_does_not_fit_its_record_is_refused(make_run: Callable[..., Run]) -> None:
    run = make_run("a", TWO, 10)
    dataset = {**run.record["dataset"], "class_names": ["one"], "num_classes": 1}
    with pytest.raises(BadInput, match="names 1 classes"):
        view_runs([replace(run, record={**run.record, "dataset": dataset})])
    with pytest.raises(BadInput, match="at least one run"):
        view_runs([])


def test_names_lose_line_breaks_and_marks_of_direction(make_run: Callable[..., Run]) -> None:
    view = view_runs([make_run("a", TWO, 10, names=["a\nb", "cat\u202egod"], model="n\u202eet")])[0].views[0]
    assert (view.class_names, view.model) == (("a b", "catgod"), "net")
