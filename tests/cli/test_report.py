from __future__ import annotations

from pathlib import Path

import pytest

from fairbench.cli import run
from fairbench.outcomes import Outcomes
from fairbench.runs import write_run


def write(folder: Path, robust: list[int], *, model: str = "net", block_size: int = 8) -> Path:
    """Two classes of 100 images; of each, the first so many are robust under pgd20."""
    label = [0] * 100 + [1] * 100
    prediction = [c if place < robust[c] else 1 - c for c in (0, 1) for place in range(100)]
    outcomes = Outcomes.concat(
        [
            Outcomes.of_columns("natural", index=range(200), label=label, prediction=label),
            Outcomes.of_columns("pgd20", index=range(200), label=label, prediction=prediction),
        ]
    )
    record = {
        "schema": 1,
        "protocol": 1,
        "block_size": block_size,
        "dataset": {
            "name": "toy", "split": "test", "count": 200, "num_classes": 2, "class_names": ["cat", "dog"],
            "selection": "all", "index_sha256": "1" * 64, "sha256": "2" * 64,
        },
        "model": {"name": model, "sha256": "3" * 64, "normalize": "none"},
        "threat": {"norm": "Linf", "eps": 0.1, "eps_text": "0.1"},
        "attacks": {"pgd20": {"steps": 20}},
    }  # fmt: skip
    write_run(folder, record, outcomes)
    return folder


def test_the_last_line_is_the_page_and_the_table_stands_above_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write(tmp_path / "run", [60, 20])
    assert run(["report", str(folder)]) == 0
    out = capsys.readouterr().out
    assert out.splitlines()[-1] == str(folder / "report.html")
    assert (folder / "report.html").exists()
    assert "toy test: all 200 images (100 per class), Linf, eps 0.1; intervals 95 %" in out
    row = next(line.split() for line in out.splitlines() if "pgd20" in line)
    assert row[:4] == ["net", "pgd20", "200", "40.0"]
    assert "20.0 dog" in out


def test_several_runs_go_where_out_says(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folders = [write(tmp_path / "a", [60, 20], model="a"), write(tmp_path / "b", [60, 30], model="b")]
    assert run(["report", *map(str, folders), "--out", str(tmp_path / "all.html")]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == str(tmp_path / "all.html")
    assert "2 models on toy" in (tmp_path / "all.html").read_text()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "Missing argument 'RUN...'"),
        (["nowhere"], "'nowhere' does not exist"),
        (["RUN", "--out", ""], "--out must name an HTML file or a folder"),
        (["RUN", "--out", "FILE"], "cannot be used"),
        (["RUN", "RUN/../run"], "given twice"),
    ],
)
def test_bad_input_is_one_sentence_and_two(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    folder = write(tmp_path / "run", [60, 20])
    (tmp_path / "file").write_text("taken")
    here = [text.replace("RUN", str(folder)).replace("FILE", str(tmp_path / "file")) for text in arguments]
    assert run(["report", *here]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert words in said.err
    assert said.err.count("\n") == 1
    assert len(said.err) < 600


def test_a_broken_training_log_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write(tmp_path / "run", [60, 20])
    (folder / "training.jsonl").write_text('{"epoch": 0}\n[]\n{"epoch": 1}\n')
    assert run(["report", str(folder)]) == 2
    assert "line 2 of the training log" in capsys.readouterr().err
