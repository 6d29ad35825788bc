"""RobustBench's format: what is written validates, what is read stands beside our runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fairbench.attacks.autoattack import resolved_parts
from fairbench.cli import run
from fairbench.outcomes import Outcomes
from fairbench.reporting.robustbench_export import schema_text
from fairbench.runs import write_run

#: As RobustBench writes its files: percent as text, nulls, and keys that only some have.
CARMON = {
    "link": "https://arxiv.org/abs/1", "name": "Unlabeled Data", "authors": "A, B", "additional_data": True,
    "number_forward_passes": 1, "dataset": "toy", "venue": "NeurIPS 2019", "architecture": "WideResNet-28-10",
    "eps": "8/255", "clean_acc": "89.69", "reported": "62.5", "autoattack_acc": "59.53", "unreliable": False,
}  # fmt: skip
KANG = {**CARMON, "name": "Stable", "autoattack_acc": "71.28", "external": "64.20", "unreliable": True, "reported": ""}


def write(
    folder: Path,
    *,
    selection: str = "all",
    cascade: bool = True,
    source: str | None = None,
    eps: float = 8 / 255,
    steps: int | None = None,
) -> Path:
    """Two classes of 10: cat keeps 8 natural and 4 robust, dog 10 and 7."""
    label = [0] * 10 + [1] * 10

    def rows(attack: str, cat: int, dog: int) -> Outcomes:
        robust = [place < (cat if c == 0 else dog) for c in (0, 1) for place in range(10)]
        prediction = [c if kept else 1 - c for c, kept in zip(label, robust, strict=True)]
        return Outcomes.of_columns(attack, index=range(20), label=label, prediction=prediction)

    parts = resolved_parts("standard", norm="Linf", num_classes=2, steps=steps)
    tables = [rows("natural", 8, 10), rows("pgd20", 5, 7)]
    if cascade:
        tables += [rows("aa/apgd-ce", 5, 7), rows("aa/square", 4, 7), rows("aa", 4, 7)]
    attacks: dict[str, Any] = {"pgd20": {}, **({"aa": {"parts": parts}} if cascade else {})}
    record = {
        "schema": 1,
        "protocol": 1,
        "dataset": {
            "name": "npz:/here/toy.npz", "split": "test", "num_classes": 2, "class_names": ["cat", "dog"],
            "selection": selection,
        },
        "model": {"name": folder.name, "sha256": "0" * 64, **({"source": source} if source else {})},
        "threat": {"norm": "Linf", "eps": eps, "eps_text": "8/255"},
        "attacks": attacks,
    }  # fmt: skip
    write_run(folder, record, Outcomes.concat(tables))
    return folder


def published(folder: Path, **entries: dict[str, Any]) -> Path:
    for name, entry in entries.items():
        place = folder / "toy" / "Linf" / f"{name}.json"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(json.dumps(entry))
    return folder


def refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    assert run(["leaderboard", *map(str, arguments)]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    return " ".join(said.err.split())


def test_an_entry_has_robustbenchs_types_and_our_classes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write(tmp_path / "mine")
    assert run(["leaderboard", "export", str(folder), "--format", "robustbench", "--out", str(tmp_path / "out")]) == 0
    path = tmp_path / "out" / "toy" / "Linf" / "mine.json"
    assert capsys.readouterr().out == f"{path}\n"
    entry = json.loads(path.read_text())
    assert entry["clean_acc"] == "90.0"  # (8 + 10) / 20, as RobustBench's str(round(100 x, 2))
    assert entry["autoattack_acc"] == "55.0"  # (4 + 7) / 20
    assert (entry["dataset"], entry["eps"], entry["unreliable"], entry["name"]) == ("toy", "8/255", False, None)
    assert entry["classwise"]["attacks"]["aa"]["class_accuracy"] == [0.4, 0.7]
    assert entry["classwise"]["attacks"]["aa"]["worst_class"]["name"] == "cat"
    assert (tmp_path / "out" / "model_info.schema.json").read_text() == schema_text()


def test_what_is_written_validates_and_what_is_wrong_does_not(tmp_path: Path) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    validator = jsonschema.Draft202012Validator(json.loads(schema_text()))
    jsonschema.Draft202012Validator.check_schema(json.loads(schema_text()))
    assert run(["leaderboard", "export", str(write(tmp_path / "mine")), "--out", str(tmp_path / "out")]) == 0
    entry = json.loads((tmp_path / "out" / "toy" / "Linf" / "mine.json").read_text())
    assert list(validator.iter_errors(entry)) == []
    assert list(validator.iter_errors(CARMON)) == []  # the superset takes RobustBench's own
    for wrong in (
        {**entry, "clean_acc": 90.0},
        {**entry, "clean_acc": "190.0"},
        {**entry, "classwise": {**entry["classwise"], "provenance_sha256": "x"}},
        {**entry, "classwise": {key: value for key, value in entry["classwise"].items() if key != "attacks"}},
    ):
        assert list(validator.iter_errors(wrong)) != []


def test_a_person_adds_what_a_run_does_not_know(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, info = write(tmp_path / "mine", source="rb:toy/Linf/Carmon2019Unlabeled (robustbench 1)"), tmp_path / "i"
    info.write_text('{"name": "A paper", "additional_data": true, "venue": "ICML"}')
    assert run(["leaderboard", "export", str(folder), "--info", str(info), "--out", str(tmp_path / "out")]) == 0
    entry = json.loads((tmp_path / "out" / "toy" / "Linf" / "Carmon2019Unlabeled.json").read_text())
    assert (entry["name"], entry["additional_data"], entry["venue"]) == ("A paper", True, "ICML")
    capsys.readouterr()
    for wrong, words in (
        ('{"nam": "x"}', "Did you mean 'name'"),
        ('{"name": 3}', "'name' in i must be a JSON str, but is '3'"),
        ('{"additional_data": 1}', "must be a JSON bool"),
        ("[]", "--info"),
    ):
        info.write_text(wrong)
        assert words in refused(capsys, "export", folder, "--info", info, "--out", tmp_path / "out2")


def test_a_reduced_autoattack_is_not_exported_as_autoattack(tmp_path, capsys):
    write(tmp_path / "few", steps=10)
    said = refused(capsys, "export", tmp_path / "few", "--out", tmp_path / "out")
    assert "it ran 'aa' with parts or budgets of its own; evaluate with --attacks aa" in said
    assert not (tmp_path / "out").exists()


def test_what_is_no_robustbench_figure_is_not_exported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    part = write(tmp_path / "part", selection="first 2 of each class")
    assert "it saw first 2 of each class of 'test'" in refused(capsys, "export", part, "--out", out)
    plain = write(tmp_path / "plain", cascade=False)
    assert "it ran only natural, pgd20; evaluate with --attacks aa" in refused(capsys, "export", plain, "--out", out)
    one, two = (write(tmp_path / name, source="rb:toy/Linf/X (r)") for name in ("one", "two"))
    assert "two runs would both be toy/Linf/X.json" in refused(capsys, "export", one, two, "--out", out)
    assert not out.exists()


def test_published_numbers_stand_beside_ours(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    info = published(tmp_path / "model_info", Carmon2019Unlabeled=CARMON, Kang2021Stable=KANG)
    mine = write(tmp_path / "mine", source="rb:toy/Linf/Carmon2019Unlabeled (robustbench 1.1.1)")
    part, weak = write(tmp_path / "part", selection="first 10"), write(tmp_path / "weak", cascade=False)
    other = write(tmp_path / "other", eps=4 / 255)
    assert run(["leaderboard", "import", *map(str, (info, mine, part, weak, other)), "--out", str(tmp_path / "o")]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == str(tmp_path / "o" / "published.json")
    (table,) = json.loads((tmp_path / "o" / "published.json").read_text())["tables"]
    found = [(row["model"], row["from"], row["best_known"], row["rank"]) for row in table["rows"]]
    assert found == [
        ("Kang2021Stable", "published", 0.642, None),  # by the external figure, not AutoAttack's 71.28
        ("Carmon2019Unlabeled", "published", 0.5953, None),
        ("mine", "measured", 0.55, 1),
        ("weak", "measured", 0.6, None),
        ("part", "measured", 0.55, None),
    ]
    assert table["rows"][2]["worst_class"]["name"] == "cat"
    page = (tmp_path / "o" / "published.md").read_text()
    assert "| 1 | mine | measured | 90.00 | 55.00 | 55.00 | 40.00 cat | 20 |" in page
    assert "it ran only natural, pgd20;" in page
    assert "it saw first 10 of 'test';" in page


def test_published_numbers_alone(tmp_path: Path) -> None:
    info = published(tmp_path / "model_info", Carmon2019Unlabeled=CARMON)
    assert run(["leaderboard", "import", str(info), "--out", str(tmp_path / "o")]) == 0
    assert "59.53" in (tmp_path / "o" / "published.md").read_text()


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({**CARMON, "clean_acc": "eighty"}, "must be percent from 0 to 100, but is 'eighty'"),
        ({**CARMON, "autoattack_acc": "159.53"}, "but is '159.53'"),
        ({**CARMON, "clean_acc": None}, "has no clean_acc"),
        ([1], "must be a JSON object, but is list"),
    ],
)
def test_entries_that_are_none(entry: Any, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert words in refused(capsys, "import", published(tmp_path / "m", A=entry), "--out", tmp_path / "o")


def test_a_folder_without_entries(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = refused(capsys, "import", tmp_path, "--out", tmp_path / "o")
    assert "give the folder model_info of a checkout" in said
