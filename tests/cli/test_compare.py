from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fairbench.cli import run
from fairbench.outcomes import Outcomes
from fairbench.runs import write_run

NAMES = ["cat", "[red]dog", "a ship with a long name"]
PER_CLASS = 40
LABELS = np.repeat(np.arange(3), PER_CLASS)

Maker = Callable[..., Path]


def _record() -> dict[str, Any]:
    return {
        "schema": 1,
        "protocol": 1,
        "dataset": {
            "name": "toy", "split": "test", "count": 120, "num_classes": 3, "class_names": NAMES, "selection": "all",
            "index_sha256": "a" * 64, "sha256": "b" * 64,
        },
        "model": {"name": "m", "sha256": "c" * 64, "normalize": "none"},
        "threat": {"norm": "Linf", "eps": 0.1, "eps_text": "0.1"},
        "attacks": {"natural": {}, "pgd20": {"steps": 20, "start": "uniform"}},
    }  # fmt: skip


def _table(robust_per_class: list[int], attack: str, labels: np.ndarray = LABELS) -> Outcomes:
    """The first so many samples of each class are robust, the others go to the next class."""
    place = np.arange(len(labels)) % PER_CLASS
    robust = place < np.asarray(robust_per_class)[labels]
    prediction = np.where(robust, labels, (labels + 1) % 3)
    return Outcomes.of_columns(attack, index=np.arange(len(labels)), label=labels, prediction=prediction)


@pytest.fixture
def make(tmp_path: Path) -> Maker:
    def write(name: str, robust: list[int], **changes: Any) -> Path:
        record = copy.deepcopy(_record())
        for path, value in changes.items():
            part, _, key = path.partition("__")
            if key:
                record[part][key] = value
            else:
                record[part] = value
        outcomes = Outcomes.concat([_table([39, 38, 40], "natural"), _table(robust, "pgd20")])
        write_run(tmp_path / name, record, outcomes)
        return tmp_path / name

    return write


def test_a_piped_comparison_is_plain_text(make: Maker, capsys: pytest.CaptureFixture[str]) -> None:
    """Cat gains 22 of 40 and nothing else changes: McNemar 2 * 0.5^22 for cat, 1 elsewhere; the average +22/120."""
    before, after = make("before", [8, 30, 35]), make("after", [30, 30, 35])
    assert run(["compare", str(before), str(after)]) == 0
    captured = capsys.readouterr()
    lines = captured.out.splitlines()
    assert captured.err == ""
    assert lines[0].startswith("Under pgd20, on the same 120 images, B against A (95 % intervals in points): ")
    assert "the average is 18.3 points higher (+" in lines[0]
    assert "more robust in “cat”;" in lines[0]
    assert lines[0].endswith("only several seeds can tell about their methods.")
    assert f"A = {before}" in lines
    assert "\x1b" not in captured.out
    assert not any(line != line.rstrip() for line in lines)
    rows = {line.split("  ")[0].strip(): line.split() for line in lines}
    assert rows["cat"][-8:] == ["40", "20.0", "75.0", "+55.0", "0", "22", "<0.001*", "<0.001*"]
    assert rows["[red]dog"][-8:] == ["40", "75.0", "75.0", "+0.0", "0", "0", "1.000", "1.000"]
    assert rows["a ship with a long name"][-8:] == ["40", "87.5", "87.5", "+0.0", "0", "0", "1.000", "1.000"]
    assert [line.split("  ")[0] for line in lines if line.startswith(("natural", "pgd20"))] == [
        "natural: each class", "natural: over all classes", "pgd20: each class", "pgd20: over all classes",
    ]  # fmt: skip
    # Worst class: 8/40 = 20.0 (cat) before, 30/40 = 75.0 (cat and dog) after.
    assert rows["worst class %"][3:6] == ["20.0", "75.0", "+55.0"]


def test_equal_runs_cannot_be_told_apart(make: Maker, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["compare", str(make("one", [8, 30, 35])), str(make("two", [8, 30, 35]))]) == 0
    first = capsys.readouterr().out.splitlines()[0]
    assert "not one verdict differs" in first
    assert "no proof" in first


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"dataset__index_sha256": "d" * 64}, "the samples"),
        ({"dataset__sha256": "d" * 64}, "the samples"),
        ({"threat__eps": 0.2, "threat__eps_text": "0.2"}, "eps (0.1 against 0.2)"),
        ({"threat__norm": "L2"}, "the norm (Linf against L2)"),
        ({"protocol": 2}, "the protocol version"),
        ({"attacks__pgd20": {"steps": 2, "start": "uniform"}}, "steps=20 against 2"),
    ],
)
def test_runs_with_different_questions_are_not_comparable(
    make: Maker, capsys: pytest.CaptureFixture[str], changes: dict[str, Any], words: str
) -> None:
    """Names and values stand in the order in which the runs were given."""
    assert run(["compare", str(make("before", [8, 30, 35])), str(make("after", [8, 30, 35], **changes))]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "the runs 'before' and 'after' are not comparable" in captured.err
    assert words in captured.err
    assert captured.err.count("\n") == 1


def test_a_table_of_other_samples_is_not_comparable(
    make: Maker, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = make("before", [8, 30, 35])
    fewer = Outcomes.concat([_table([8, 30, 35], attack, LABELS[:-1]) for attack in ("natural", "pgd20")])
    write_run(tmp_path / "after", _record(), fewer)
    assert run(["compare", str(before), str(tmp_path / "after")]) == 2
    assert "different samples" in capsys.readouterr().err


def test_a_missing_folder_and_a_record_without_classes_are_one_sentence(
    make: Maker, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = make("good", [8, 30, 35])
    assert run(["compare", str(good), str(tmp_path / "none")]) == 2
    assert "does not exist" in capsys.readouterr().err
    bad = make("bad", [8, 30, 35], dataset__class_names=None)
    assert run(["compare", str(bad), str(bad)]) == 2
    assert "names no classes" in capsys.readouterr().err


def test_more_seeds_of_the_same_two_methods(make: Maker, capsys: pytest.CaptureFixture[str]) -> None:
    """Worst classes of 40 images: A 20, 22, 21, B 26, 24, 27. Differences 15, 5 and 15 points: mean 11.7, standard
    deviation 5.7735; with t(2) = 4.3027 half the interval is 4.3027 x 5.7735 / sqrt(3) = 14.3."""
    runs = [
        make(f"{side}{seed}", [worst, 36, 38], model__sha256=f"{side}{seed}" * 32)
        for side, row in (("a", (20, 22, 21)), ("b", (26, 24, 27)))
        for seed, worst in enumerate(row)
    ]
    words = [str(run) for run in runs]
    pairs = [word for seed in (1, 2) for word in ("--also", words[seed], words[3 + seed])]
    assert run(["compare", words[0], words[3], *pairs]) == 0
    out = capsys.readouterr().out
    assert (
        "over 3 seeds the worst class under pgd20 differs by +11.7 points (95 % t interval -2.7 to +26.0): "
        "not decidable with so few seeds." in out
    )
    assert "pgd20: over 3 seeds" in out
    assert any(line.split()[:5] == ["worst", "class", "%", "52.5", "64.2"] for line in out.splitlines())
    assert run(["compare", words[0], words[3], "--also", words[1], words[3]]) == 2
    assert "stands in two pairs" in capsys.readouterr().err
    swapped = make("swapped", [20, 36, 38], model__sha256="e" * 64, model__method="trades")
    assert run(["compare", words[0], words[3], "--also", str(swapped), words[4]]) == 2
    assert "different methods (None and trades)" in capsys.readouterr().err
    one = make("one", [20, 36, 38], model__sha256="f" * 64, model__seed=1)
    two = make("two", [26, 36, 38], model__sha256="0" * 64, model__seed=2)
    assert run(["compare", words[0], words[3], "--also", str(one), str(two)]) == 2
    refusal = capsys.readouterr()
    assert refusal.out == ""
    assert refusal.err.splitlines() == [
        "fairbench: pair 2 compares a training with seed 1 with one with seed 2; put runs of one seed into a pair."
    ]
    other = make("other", [20, 36, 38], model__sha256="d" * 64, threat__eps=0.2)
    assert run(["compare", words[0], words[3], "--also", str(other), words[4]]) == 2
