from __future__ import annotations

from pathlib import Path

import pytest

from fairbench.cli import run
from fairbench.outcomes import Outcomes
from fairbench.runs import write_run


def write(folder: Path, robust: list[int], *, eps: str = "0.1", steps: int = 20, block_size: int = 8) -> Path:
    """Two classes of 100 images; of each, the first so many are robust under pgd20."""
    label = [0] * 100 + [1] * 100
    prediction = [c if place < robust[c] else 1 - c for c in (0, 1) for place in range(100)]
    tables = [
        Outcomes.of_columns("natural", index=range(200), label=label, prediction=label),
        Outcomes.of_columns("pgd20", index=range(200), label=label, prediction=prediction),
    ]
    record = {
        "schema": 1,
        "protocol": 1,
        "block_size": block_size,
        "dataset": {
            "name": "toy", "split": "test", "count": 200, "num_classes": 2, "class_names": ["cat", "dog"],
            "selection": "all", "index_sha256": "1" * 64, "sha256": "2" * 64,
        },
        "model": {"name": "net", "sha256": "3" * 64, "normalize": "none"},
        "threat": {"norm": "Linf", "eps": float(eps), "eps_text": eps},
        "attacks": {"pgd20": {"steps": steps}},
    }  # fmt: skip
    write_run(folder, record, Outcomes.concat(tables))
    return folder


@pytest.mark.parametrize(
    ("robust", "options", "code", "words"),
    [
        ([80, 60], [], 0, "No regression"),
        ([80, 50], [], 1, "Regression: 2 of 4 checks failed"),
        ([80, 50], ["--max-drop", "5", "--max-worst-drop", "10"], 0, "No regression"),
        ([80, 50], ["--max-drop", "5", "--max-worst-drop", "9.9"], 1, "1 of 4 checks failed"),
        ([80, 58], [], 0, "No regression"),
        ([85, 65], [], 0, "No regression"),
        ([80, 60], ["--same"], 0, "The same: 0 of 400 verdicts"),
        ([85, 65], ["--same"], 1, "The evaluation drifted: 10 of 200 verdicts of pgd20 flipped"),
        ([85, 65], ["--same", "--max-flips", "0.05"], 0, "The same: 10 of 400"),
    ],
)
def test_exit_codes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], robust: list[int], options: list[str], code: int, words: str
) -> None:
    base = write(tmp_path / "base", [80, 60])
    now = write(tmp_path / "now", robust, block_size=64)
    assert run(["gate", str(now), "--baseline", str(base), *options]) == code
    said = capsys.readouterr()
    assert words in said.out.splitlines()[-1]
    assert said.err == ""
    assert "pgd20" in said.out


@pytest.mark.parametrize("difference", [{"eps": "0.2"}, {"steps": 2}])
@pytest.mark.parametrize("options", [[], ["--same"]])
def test_not_comparable_is_two(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], difference: dict[str, str | int], options: list[str]
) -> None:
    base = write(tmp_path / "base", [80, 60])
    now = write(tmp_path / "now", [10, 10], **difference)  # type: ignore[arg-type]
    assert run(["gate", str(now), "--baseline", str(base), *options]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert "not comparable" in said.err
    assert said.err.count("\n") == 1


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--same", "--max-drop", "1"], "--same counts flips"),
        (["--max-flips", "0.1"], "--max-flips belongs to --same"),
        (["--max-drop", "-1"], "--max-drop must be a decimal"),
        (["--max-drop", "nan"], "--max-drop must be a decimal"),
        (["--max-worst-drop", ""], "--max-worst-drop must be a decimal"),
        (["--max-drop", "200"], "must lie in [0, 100]"),
        (["--same", "--max-flips", "2"], "must lie in [0, 1]"),
    ],
)
def test_bad_options_are_two(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], words: str
) -> None:
    base = write(tmp_path / "base", [80, 60])
    assert run(["gate", str(base), "--baseline", str(base), *options]) == 2
    assert words in capsys.readouterr().err


def test_a_baseline_is_needed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base = write(tmp_path / "base", [80, 60])
    assert run(["gate", str(base)]) == 2
    assert "--baseline" in capsys.readouterr().err
    assert run(["gate", str(base), "--baseline", str(tmp_path / "none")]) == 2
    assert "does not exist" in capsys.readouterr().err
