"""What is no RobustBench figure is refused by export, and has no rank and the same sentence in import."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fairbench.attacks.autoattack import resolved_parts
from fairbench.cli import run
from fairbench.outcomes import Outcomes
from fairbench.reporting.flags import raised_flags
from fairbench.reporting.gate import new_flags
from fairbench.reporting.robustbench_figure import Claim, footnote, why_no_figure
from fairbench.reporting.view import view_runs
from fairbench.runs import read_run, write_run

PUBLISHED = {
    "link": "https://arxiv.org/abs/1", "name": "A paper", "authors": "A, B", "additional_data": True,
    "number_forward_passes": 1, "dataset": "cifar10", "venue": "NeurIPS 2019", "architecture": "WideResNet-28-10",
    "eps": "8/255", "clean_acc": "89.69", "reported": "62.5", "autoattack_acc": "59.53", "unreliable": False,
}  # fmt: skip


def flag(name: str, severity: str = "warning") -> dict[str, Any]:
    return {"name": name, "severity": severity, "class": None, "evidence": "as seen", "advice": "look"}


def write(
    folder: Path,
    *,
    dataset: str = "cifar10",
    per_class: int = 1000,
    more: int = 0,
    num_classes: int = 10,
    selection: str = "all",
    split: str = "test",
    norm: Any = "Linf",
    eps: float = 8 / 255,
    flags: Any = (),
    steps: int | None = None,
    queries: int | None = None,
    version: str = "standard",
) -> Path:
    """Half of the images of each class are robust, 9 of 10 natural; `more` images of class 0."""
    label = [c for c in range(num_classes) for _ in range(per_class)] + [0] * more

    def rows(attack: str, modulus: int) -> Outcomes:
        prediction = [(c + (i % modulus == 0)) % num_classes for i, c in enumerate(label)]
        return Outcomes.of_columns(attack, index=range(len(label)), label=label, prediction=prediction)

    parts = resolved_parts(version, norm=norm, num_classes=num_classes, steps=steps, queries=queries)
    tables = [rows("natural", 10), rows("aa", 2), *(rows(f"aa/{name}", 2) for name in parts)]
    record = {
        "schema": 1, "protocol": 1, "flags": list(flags), "attacks": {"aa": {"parts": parts}},
        "dataset": {
            "name": dataset, "split": split, "num_classes": num_classes, "selection": selection,
            "class_names": [f"c{number}" for number in range(num_classes)],
        },
        "model": {"name": folder.name, "sha256": "0" * 64}, "threat": {"norm": norm, "eps": eps},
    }  # fmt: skip
    write_run(folder, record, Outcomes.concat(tables))
    return folder


def model_info(folder: Path, entry: Any, dataset: str = "cifar10", norm: str = "Linf") -> Path:
    place = folder / dataset / norm
    place.mkdir(parents=True)
    (place / "Carmon2019Unlabeled.json").write_text(json.dumps(entry))
    return folder


def rows_of(folder: Path) -> list[dict[str, Any]]:
    (table,) = json.loads((folder / "published.json").read_text())["tables"]
    found: list[dict[str, Any]] = table["rows"]
    return found


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"per_class": 100}, "it saw 1,000 images;"),
        ({"per_class": 999, "more": 10}, "it saw 999 images of one class and 1,009 of another;"),
        ({"per_class": 1000, "more": 1}, "it saw 10,001 images;"),
        ({"num_classes": 5, "per_class": 2000}, "it had 5 classes;"),
        ({"num_classes": 20, "per_class": 20}, "it saw 400 images, and it had 20 classes;"),
        ({"selection": "first 1000 of each class"}, "it saw first 1000 of each class of 'test';"),
        ({"split": "validation"}, "it saw all of 'validation';"),
        ({"steps": 50}, "it ran 'aa' with parts or budgets of its own;"),
        ({"queries": 100}, "it ran 'aa' with parts or budgets of its own;"),
        ({"version": "rand"}, "it ran 'aa' with parts or budgets of its own;"),
        ({"version": "plus"}, "it ran 'aa' with parts or budgets of its own;"),
        ({"eps": 7 / 255}, "it was attacked in Linf at 0.027451."),
        ({"eps": 0.031}, "it was attacked in Linf at 0.031."),
        ({"norm": "L2", "eps": 8 / 255}, "it was attacked in L2 at 0.0313725."),
        ({"norm": "L1", "eps": 12.0}, "it was attacked in L1 at 12."),
        ({"flags": [flag("zero-gradients"), flag("square-wins")]}, "it raised the flags zero-gradients, square-wins."),
        ({"steps": 5, "per_class": 10}, "it ran 'aa' with parts or budgets of its own, and it saw 100 images;"),
    ],
)
def test_it_is_not_exported_and_not_ranked(
    wrong: dict[str, Any], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write(tmp_path / "mine", **wrong)
    assert run(["leaderboard", "export", str(folder), "--out", str(tmp_path / "out")]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert words in said
    assert len(said) < 600
    assert not (tmp_path / "out").exists()

    norm, eps = wrong.get("norm", "Linf"), wrong.get("eps", 8 / 255)
    if norm == "L1":
        return  # RobustBench has no such folder
    info = model_info(tmp_path / "info", {**PUBLISHED, "eps": repr(eps)}, norm=norm)
    good = write(tmp_path / "good", norm=norm, eps=eps)
    assert run(["leaderboard", "import", *map(str, (info, folder, good)), "--out", str(tmp_path / "o")]) == 0
    rows = {row["model"]: row for row in rows_of(tmp_path / "o")}
    assert rows["mine"]["rank"] is None
    assert rows["mine"]["refused"] in said  # one sentence for both
    assert rows["good"]["rank"] == (None if {"norm", "eps"} & {*wrong} else 1)
    assert rows["Carmon2019Unlabeled"]["rank"] is None
    assert rows["Carmon2019Unlabeled"]["from"] == "published"


@pytest.mark.parametrize(
    ("dataset", "threat", "per_class", "num_classes"),
    [
        ("cifar10", {}, 1000, 10),
        ("npz:/somewhere/cifar10.npz", {}, 1000, 10),
        ("cifar10", {"norm": "L2", "eps": 0.5}, 1000, 10),
        ("cifar100", {}, 100, 100),
        ("svhn", {"eps": 3 / 255}, 7, 10),  # RobustBench has no SVHN: the whole test split at any radius
    ],
)
def test_a_figure_is_exported(
    dataset: str, threat: dict[str, Any], per_class: int, num_classes: int, tmp_path: Path
) -> None:
    folder = write(tmp_path / "mine", dataset=dataset, per_class=per_class, num_classes=num_classes, **threat)
    assert run(["leaderboard", "export", str(folder), "--out", str(tmp_path / "out")]) == 0
    (path,) = (tmp_path / "out").glob("*/*/mine.json")
    entry = json.loads(path.read_text())
    assert (entry["autoattack_acc"], entry["footnote"], entry["unreliable"]) == ("50.0", None, False)


def test_a_radius_of_imagenet_and_its_two_sizes() -> None:
    """All 50,000 validation images are said to be more than RobustBench's 5,000."""

    def claim(counts: list[int], **other: Any) -> Claim:
        parts = resolved_parts("standard", norm="Linf", num_classes=1000)
        told = {
            "dataset": "imagenet", "split": "test", "selection": "all", "norm": "Linf", "eps": 4 / 255,
            "num_classes": 1000, "class_count": tuple(counts), "attacks": {"aa": {"parts": parts}},
            "counts": {"aa": sum(counts)}, "raised": (), **other,
        }  # fmt: skip
        return Claim(**told)

    assert why_no_figure(claim([0] * 3 + [5] * 988 + [6, 6] * 4 + [12]), "it") is None  # RobustBench's list, uneven
    assert why_no_figure(claim([50] * 1000), "it") is None
    assert "it saw 4,000 images" in str(why_no_figure(claim([4] * 1000), "it"))
    assert "it was attacked in Linf at 0.0313725" in str(why_no_figure(claim([50] * 1000, eps=8 / 255), "it"))
    assert footnote(claim([5] * 1000)) is None
    assert footnote(claim([50] * 1000)) == "On all 50000 validation images; RobustBench evaluates on 5000 of them."


def test_an_entry_of_ours_is_judged_again_where_it_is_imported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Somebody's folder may hold entries that say how they were measured: of few images, say, or few steps."""
    assert run(["leaderboard", "export", str(write(tmp_path / "mine")), "--out", str(tmp_path / "out")]) == 0
    entry = json.loads((tmp_path / "out" / "cifar10" / "Linf" / "mine.json").read_text())

    def refused(change: Any, unreliable: bool = False) -> str | None:
        edited = json.loads(json.dumps(entry))
        change(edited["classwise"])
        edited["unreliable"] = unreliable
        folder = tmp_path / f"info{len([*tmp_path.iterdir()])}"
        assert run(["leaderboard", "import", str(model_info(folder, edited)), "--out", str(folder / "o")]) == 0
        (row,) = rows_of(folder / "o")
        assert (row["from"], row["rank"]) == ("published", None)
        found: str | None = row["refused"]
        return found

    def few(classwise: dict[str, Any]) -> None:
        for attack in classwise["attacks"].values():
            attack["class_count"] = [10] * 10

    def half(classwise: dict[str, Any]) -> None:
        classwise["attacks"]["aa"]["class_count"] = [500] * 10

    def weak(classwise: dict[str, Any]) -> None:
        classwise["attacks"]["aa"]["resolved"]["parts"]["square"]["queries"] = 10

    def classes(classwise: dict[str, Any]) -> None:
        classwise["dataset"]["num_classes"] = 7

    def flagged(classwise: dict[str, Any]) -> None:
        classwise["flags"] = ["zero-gradients"]

    assert refused(lambda _: None) is None
    assert "it saw 100 images" in str(refused(few))
    assert "it ran 'aa' on 5,000 of 10,000 images" in str(refused(half))
    assert "it ran 'aa' with parts or budgets of its own" in str(refused(weak))
    assert "it had 7 classes" in str(refused(classes))
    assert "it raised the flags zero-gradients" in str(refused(flagged, unreliable=True))
    assert refused(flagged) is None  # an accepted check stands there, too, and is not raised

    capsys.readouterr()
    broken = model_info(tmp_path / "broken", {**entry, "classwise": {"dataset": 3}})
    assert run(["leaderboard", "import", str(broken), "--out", str(tmp_path / "o")]) == 2
    assert "is not what 'fairbench leaderboard export' writes" in " ".join(capsys.readouterr().err.split())


def test_one_judgement_of_flags(tmp_path: Path) -> None:
    """An accepted check is no raised flag: not in the report, the gate, the export or the import."""
    accepted, base = write(tmp_path / "accepted", flags=[flag("normalize", "accepted")]), write(tmp_path / "base")
    flagged = write(tmp_path / "flagged", flags=[flag("normalize")])
    (first,) = view_runs([read_run(accepted)])
    assert (len(first.views[0].flags), first.views[0].raised) == (1, ())
    assert new_flags(read_run(accepted), read_run(base)) is None
    # Raised now, where the baseline's person had accepted it.
    assert "normalize (as seen)" in str(new_flags(read_run(flagged), read_run(accepted)))
    assert run(["leaderboard", "export", str(accepted), "--out", str(tmp_path / "out")]) == 0
    assert run(["leaderboard", "export", str(flagged), "--out", str(tmp_path / "out2")]) == 2
    info = model_info(tmp_path / "info", PUBLISHED)
    assert run(["leaderboard", "import", *map(str, (info, accepted, flagged)), "--out", str(tmp_path / "o")]) == 0
    rows = {row["model"]: (row["rank"], row["unreliable"]) for row in rows_of(tmp_path / "o")}
    assert {rows[name] for name in rows if name.startswith("accepted")} == {(1, False)}
    assert {rows[name] for name in rows if name.startswith("flagged")} == {(None, True)}
    assert raised_flags({"flags": None}) == ()
    assert run(["leaderboard", str(accepted), str(flagged), "--out", str(tmp_path / "board")]) == 0
    page = (tmp_path / "board" / "leaderboard.md").read_text()
    assert page.count("| normalize (accepted) |") == 1
    assert page.count("| normalize |") == 1
