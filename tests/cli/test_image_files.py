"""Image files through train and eval: what was done to them stands in the sidecar, and eval does it again."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fairbench.cli import run
from fairbench.data.image_folder import ImageFolder

TRAIN = ["train", "--method", "natural", "--model", "small-cnn", "--eps", "8/255", "--epochs", "1", "--batch-size", "8"]
PREPARED = ["--resize", "10", "--crop", "8", "--interpolation", "bicubic"]
EVAL = ["--attacks", "fgsm", "--eps", "8/255", "--accept", "low-accuracy"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Dark and light noise, 10 and 4 of each, 14x12 pixels."""
    generator = np.random.default_rng(0)
    for part, count in (("train", 10), ("test", 4)):
        for name, low in (("dark", 0), ("light", 128)):
            (tmp_path / "images" / part / name).mkdir(parents=True)
            for place in range(count):
                pixels = generator.integers(low, low + 128, (12, 14, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(tmp_path / "images" / part / name / f"{place}.png")
    return tmp_path / "images"


@pytest.fixture
def checkpoint(folder: Path, tmp_path: Path) -> Path:
    assert (
        run([*TRAIN, "--dataset", f"folder:{folder}", *PREPARED, "--out", str(tmp_path / "made"), "--name", "net"]) == 0
    )
    return tmp_path / "made" / "net.pt"


def evaluated(checkpoint: Path, out: Path, *options: str) -> dict[str, object]:
    assert run(["eval", str(checkpoint), *EVAL, *options, "--out", str(out)]) == 0
    dataset: dict[str, object] = json.loads((out / "run.json").read_text())["dataset"]
    return dataset


def test_eval_without_options_prepares_images_as_training_did(checkpoint: Path, folder: Path, tmp_path: Path) -> None:
    sidecar = json.loads(checkpoint.with_suffix(".json").read_text())
    prepared = {"resize": 10, "crop": 8, "interpolation": "bicubic"}
    assert sidecar["preprocess"] == prepared
    assert sidecar["shape"] == [3, 8, 8]
    silent = evaluated(checkpoint, tmp_path / "a")
    assert silent["preprocess"] == prepared
    assert evaluated(checkpoint, tmp_path / "b", *PREPARED) == silent
    moved = folder.rename(tmp_path / "moved")
    assert evaluated(checkpoint, tmp_path / "c", "--dataset", f"folder:{moved}")["sha256"] == silent["sha256"]


def test_an_option_of_eval_wins_over_the_sidecar(checkpoint: Path, tmp_path: Path) -> None:
    found = evaluated(checkpoint, tmp_path / "a", "--interpolation", "nearest", "--resize", "9")
    assert found["preprocess"] == {"resize": 9, "crop": 8, "interpolation": "nearest"}


def test_images_of_arrays_are_not_prepared_as_the_sidecar_says(checkpoint: Path, tmp_path: Path) -> None:
    generator = np.random.default_rng(1)
    x = generator.integers(0, 256, (8, 8, 8, 3), dtype=np.uint8)
    np.savez(tmp_path / "arrays.npz", x=x, y=np.repeat([0, 1], 4), class_names=np.array(["dark", "light"]))
    assert "preprocess" not in evaluated(checkpoint, tmp_path / "a", "--dataset", f"npz:{tmp_path / 'arrays.npz'}")


@pytest.mark.parametrize("command", ["train", "eval"])
def test_workers_read_and_change_nothing(
    checkpoint: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    seen = []
    original = ImageFolder.stream

    def watched(self: ImageFolder, blocks: object) -> object:
        seen.append(self.workers)
        return original(self, blocks)  # type: ignore[arg-type]

    monkeypatch.setattr(ImageFolder, "stream", watched)
    if command == "eval":
        assert evaluated(checkpoint, tmp_path / "a", "--workers", "3") == evaluated(checkpoint, tmp_path / "b")
    else:
        options = [*TRAIN, "--dataset", f"folder:{folder}", *PREPARED, "--workers", "3", "--out", str(tmp_path / "w")]
        assert run([*options, "--name", "net"]) == 0
        weights = [
            json.loads(path.with_suffix(".json").read_text()) for path in (checkpoint, tmp_path / "w" / "net.pt")
        ]
        assert weights[0]["sha256"] == weights[1]["sha256"]
    assert 3 in seen


def test_training_on_the_same_files_otherwise_prepared_is_another_training(
    checkpoint: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    same_place = ["--out", str(checkpoint.parent), "--name", "net"]
    capsys.readouterr()
    options = [*PREPARED[:-1], "nearest"]
    assert run([*TRAIN, "--dataset", f"folder:{folder}", *options, *same_place]) == 2
    assert "preprocess interpolation = bicubic there, but nearest here" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--crop", "20"], "smaller than --crop 20; add --resize 20"),
        (["--resize", "8", "--crop", "9"], "--crop 9 is larger than --resize 8"),
        (["--interpolation", "cubic"], "unknown interpolation 'cubic'"),
        (["--workers", "0"], "--workers"),
        (["--resize", "0"], "--resize"),
    ],
)
def test_what_cannot_be_is_one_sentence(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], words: str
) -> None:
    assert run([*TRAIN, "--dataset", f"folder:{folder}", *options, "--out", str(tmp_path / "made")]) == 2
    said = capsys.readouterr().err
    assert words in said
    assert "Traceback" not in said


@pytest.mark.parametrize("option", ["--resize", "--crop", "--workers", "--interpolation"])
@pytest.mark.parametrize("command", [["train", "--method", "natural", "--dataset", "digits"], ["eval", "CHECKPOINT"]])
def test_options_of_image_files_are_refused_for_arrays(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], command: list[str], option: str
) -> None:
    command = [str(checkpoint) if word == "CHECKPOINT" else word for word in command]
    more = ["--dataset", "digits"] if command[0] == "eval" else []
    value = "bilinear" if option == "--interpolation" else "8"
    assert run([*command, *more, option, value, "--out", str(tmp_path / "x")]) == 2
    assert f"{option} is for image files, but digits holds arrays of a fixed size" in capsys.readouterr().err


@pytest.mark.parametrize(
    "record",
    ["8", {"resize": 10, "crop": 8}, {"resize": "10", "crop": 8, "interpolation": "bicubic"},
     {"resize": True, "crop": 8, "interpolation": "bicubic"}, {"resize": 10, "crop": 8, "interpolation": 3}],
)  # fmt: skip
def test_a_sidecar_with_a_broken_preprocessing_is_refused(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], record: object
) -> None:
    path = checkpoint.with_suffix(".json")
    path.write_text(json.dumps({**json.loads(path.read_text()), "preprocess": record}))
    assert run(["eval", str(checkpoint), *EVAL, "--out", str(tmp_path / "x")]) == 2
    assert "the sidecar of net.pt holds the preprocessing" in capsys.readouterr().err
