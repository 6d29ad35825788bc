from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from fairbench.errors import BadInput
from fairbench.reporting.leaderboard import leaderboard_json, provenance_sha256, ranked_sets, write_leaderboard
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


def test_provenance_is_the_record_and_every_verdict(make_run: Callable[..., Run]) -> None:
    run = make_run("r", {"natural": [9, 9]}, 10)
    assert provenance_sha256(run) == provenance_sha256(make_run("r", {"natural": [9, 9]}, 10))
    assert provenance_sha256(run) != provenance_sha256(make_run("r", {"natural": [9, 8]}, 10))
    assert provenance_sha256(run) != provenance_sha256(make_run("r", {"natural": [9, 9]}, 10, threads=2))


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
