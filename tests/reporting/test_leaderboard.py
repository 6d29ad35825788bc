from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fairbench.errors import BadInput
from fairbench.outcomes import Outcomes
from fairbench.reporting.leaderboard import (
    FEWEST_PER_CLASS,
    leaderboard_json,
    leaderboard_markdown,
    ranked_sets,
    why_unranked,
    write_leaderboard,
)
from fairbench.reporting.provenance_hash import provenance_sha256
from fairbench.runs import Run


@pytest.fixture
def folders(make_run: Callable[..., Run]) -> list[Path]:
    """Three models on ten images a class (worst 40, 40 and 10 %), one of them also on two."""
    runs = [
        make_run("low", {"natural": [9, 9], "pgd20": [9, 1]}, 10, model="low"),
        make_run("even", {"natural": [9, 9], "pgd20": [4, 4]}, 10, model="even"),
        make_run("high", {"natural": [9, 9], "pgd20": [4, 6]}, 10, model="high"),
        make_run("few", {"natural": [2, 2], "aa": [1, 1]}, 2, model="low", selection="first 2 of each class"),
    ]
    return [run.folder for run in runs if run.folder is not None]


def test_ranks_by_worst_class_then_average_within_equal_samples(folders: list[Path], tmp_path: Path) -> None:
    path, page = write_leaderboard(folders, tmp_path / "board")
    board = json.loads(path.read_text())
    assert board["schema"] == 1
    assert [[entry["run"] for entry in one["entries"]] for one in board["sets"]] == [["high", "even", "low"], ["few"]]
    assert board["sets"][0]["ranked_by"] == {"attack": "pgd20", "metric": "worst_class"}
    entry = board["sets"][0]["entries"][0]
    assert entry["attacks"]["pgd20"]["worst_class"]["accuracy"] == 0.4
    assert entry["attacks"]["pgd20"]["average"] == 0.5
    low, high = entry["attacks"]["pgd20"]["interval"]["worst_class"]
    assert 0 <= low < 0.4 < high <= 1
    assert entry["attacks"]["pgd20"]["if_equal"]["worst_class"]["expected"] < 0.5
    assert len(entry["provenance_sha256"]) == 64
    text = page.read_text()
    assert text.index("| 1 | high |") < text.index("| 2 | even |") < text.index("| 3 | low |")
    assert entry["provenance_sha256"][:12] in text


def test_the_same_runs_give_the_same_bytes_in_any_order(folders: list[Path], tmp_path: Path) -> None:
    first = [path.read_bytes() for path in write_leaderboard(folders, tmp_path / "a")]
    again = [path.read_bytes() for path in write_leaderboard([*reversed(folders), folders[0]], tmp_path / "b")]
    assert first == again


def test_nothing_in_it_says_when_or_how_long(make_run: Callable[..., Run], tmp_path: Path) -> None:
    quick = make_run(
        "r", {"natural": [9, 9]}, 10, seconds=1.0, started="2001-01-01T00:00:00Z", command="x", processes=1
    )
    fast = write_leaderboard([tmp_path / "r"], tmp_path / "a")
    slow = make_run("r", {"natural": [9, 9]}, 10, seconds=9.0, started="2025-01-01T00:00:00Z", command="y", processes=4)
    before = [path.read_bytes() for path in fast]
    assert [path.read_bytes() for path in write_leaderboard([tmp_path / "r"], tmp_path / "a")] == before
    assert provenance_sha256(quick) == provenance_sha256(slow)


#: What two evaluations of one model under one protocol may differ in.
ELSEWHERE: dict[str, Any] = {
    "command": "fairbench eval /home/me/net.pt",
    "started": "2031-05-06T07:08:09Z",
    "seconds": 99.0,
    "versions": {"python": "3.13.1", "fairbench": "9.9.9", "torch": "3.0.0"},
    "commit": "fedcba98+dirty",
    "hardware": {"platform": "Darwin", "processor": "other", "cores": 64},
    "processes": 8,
    "threads": 16,
    "block_size": 3,
    "device": "cuda",
    "flags": [{"name": "few", "evidence": "0.1234567"}],
    "settings": {"batch size": 3},
}


@pytest.mark.parametrize("key", ELSEWHERE)
def test_provenance_does_not_depend_on_where_it_was_evaluated(make_run: Callable[..., Run], key: str) -> None:
    run = make_run("r", {"natural": [9, 9], "pgd20": [5, 4]}, 10)
    other = make_run("r", {"natural": [9, 9], "pgd20": [5, 4]}, 10, **{key: ELSEWHERE[key]})
    assert run.record.get(key) != other.record[key]
    assert provenance_sha256(run) == provenance_sha256(other)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("schema", 0),
        ("protocol", 2),
        ("attacks", {"pgd20": {"steps": 2, "step_size": 2 / 255}}),
        ("precision", "bf16"),
        ("engine", "native"),
        ("seeds", {"attack": 1}),
        ("accepted", ["low-accuracy"]),
        ("model", "another"),
        ("threat", {"norm": "Linf", "eps": 4 / 255, "eps_text": "8/255"}),
    ],
)
def test_provenance_is_what_was_asked(make_run: Callable[..., Run], key: str, value: object) -> None:
    hits = {"natural": [9, 9], "pgd20": [5, 4]}
    assert provenance_sha256(make_run("r", hits, 10)) != provenance_sha256(make_run("r", hits, 10, **{key: value}))


def test_provenance_is_every_sample_and_verdict(make_run: Callable[..., Run]) -> None:
    run = make_run("r", {"natural": [9, 9]}, 10)
    assert provenance_sha256(run) == provenance_sha256(make_run("r", {"natural": [9, 9]}, 10))
    assert provenance_sha256(run) != provenance_sha256(make_run("r", {"natural": [9, 8]}, 10))
    assert provenance_sha256(run) != provenance_sha256(make_run("r", {"natural": [9, 9]}, 10, selection="others"))


def test_provenance_does_not_depend_on_names_or_on_the_order_of_attacks(make_run: Callable[..., Run]) -> None:
    attacks = {"fgsm": {"steps": 1}, "pgd20": {"steps": 20}}
    hits = {"natural": [9, 9], "fgsm": [6, 6], "pgd20": [5, 4]}
    run = make_run("r", hits, 10, attacks=attacks, accepted=["a", "b"])
    turned = make_run(
        "other", dict(reversed(hits.items())), 10, attacks=dict(reversed(attacks.items())), accepted=["b", "a"],
        dataset={**run.record["dataset"], "name": "folder:/elsewhere/toy"},
    )  # fmt: skip
    renamed = replace(turned, record={**turned.record, "model": {**run.record["model"], "name": "renamed"}})
    assert provenance_sha256(run) == provenance_sha256(turned) == provenance_sha256(renamed)


def test_too_few_images_per_class_are_shown_without_ranks(folders: list[Path], tmp_path: Path) -> None:
    path, page = write_leaderboard(folders, tmp_path / "board")
    many, few = json.loads(path.read_text())["sets"]
    assert "unranked" not in many
    assert few["ranked_by"] is None
    assert few["unranked"].startswith("Not ranked: under aa some class has only 2 images")
    ranked, unranked = page.read_text().split("## ")[1:]
    assert "| \\# |" in ranked
    assert "Ranked by the worst class under pgd20" in ranked
    assert "\\#" not in unranked
    assert "Not ranked: under aa" in unranked


@pytest.mark.parametrize(("per_class", "is_ranked"), [(FEWEST_PER_CLASS - 1, False), (FEWEST_PER_CLASS, True)])
def test_the_smallest_class_decides_whether_models_are_ranked(
    make_run: Callable[..., Run], per_class: int, is_ranked: bool
) -> None:
    """The better model comes second by name: only where there are ranks it stands first and is bold."""
    runs = [
        make_run("a", {"natural": [8, 8], "pgd20": [1, 1]}, per_class, model="a"),
        make_run("b", {"natural": [8, 8], "pgd20": [2, 2]}, per_class, model="b"),
    ]
    (one,) = ranked_sets(runs)
    assert [view.label for view in one.views] == (["b", "a"] if is_ranked else ["a", "b"])
    assert (why_unranked(one) is None) == is_ranked
    assert ("**2" in leaderboard_markdown([one])) == is_ranked


def test_one_small_class_is_enough_to_leave_ranks_out_and_an_absent_one_is_not(make_run: Callable[..., Run]) -> None:
    run = make_run("r", {"natural": [9, 9, 9]}, 10)
    frame = run.outcomes.frame
    for kept, is_ranked in ((frame["index"] < 25, False), (frame["index"] < 20, True)):
        part = Run(run.name, run.record, Outcomes(frame[kept]), run.folder)
        assert (why_unranked(ranked_sets([part])[0]) is None) == is_ranked


def test_a_run_without_the_ranking_attack_has_no_rank(make_run: Callable[..., Run]) -> None:
    runs = [
        make_run("a", {"natural": [9, 9]}, 10, model="a"),
        make_run("b", {"natural": [9, 9], "pgd20": [2, 2]}, 10, model="b"),
        make_run("c", {"natural": [9, 9], "pgd20": [3, 2]}, 10, model="c"),
    ]
    page = leaderboard_markdown(ranked_sets(runs))
    rows = [line.split(" | ")[:2] for line in page.splitlines() if line.startswith("| ") and "Model" not in line]
    assert rows == [["| 1", "c"], ["| 2", "b"], ["| \N{EN DASH}", "a"]]


def test_names_stay_text(evil: Run, tmp_path: Path) -> None:
    assert evil.folder is not None
    path, page = write_leaderboard([evil.folder], tmp_path / "board")
    assert "<" not in page.read_text().replace("&lt;", "")
    board = json.loads(path.read_text())
    assert board["sets"][0]["entries"][0]["model"]["name"] == evil.record["model"]["name"]
    assert board == leaderboard_json(ranked_sets([evil]))


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="holds no finished run"):
        write_leaderboard([tmp_path], tmp_path / "board")
    assert not (tmp_path / "board").exists()
