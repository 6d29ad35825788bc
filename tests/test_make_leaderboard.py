from __future__ import annotations

import importlib.util
import subprocess
from pathlib import Path
from types import ModuleType

import pytest
import torch

from fairbench.models.checkpoint import read_sidecar, save_checkpoint
from fairbench.models.load import load_checkpoint
from fairbench.models.small_cnn import SmallCNN

SOURCE = Path(__file__).resolve().parent.parent / "benchmarks" / "make_leaderboard.py"


@pytest.fixture
def maker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The program, for a repository of its own with one committed run."""
    spec = importlib.util.spec_from_file_location("make_leaderboard", SOURCE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for name in ("checkpoints/old.pt", "reports/old/run.json"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text("old")
    (tmp_path / ".gitignore").write_text("/runs/\n")
    who = ["-c", "user.name=a", "-c", "user.email=a@b.c"]
    for command in (["init", "-q"], ["add", "."], [*who, "commit", "-q", "-m", "first"]):
        subprocess.run(["git", *command], cwd=tmp_path, check=True)
    monkeypatch.setattr(module, "ROOT", tmp_path)
    monkeypatch.setattr(module, "STAGE", tmp_path / "runs" / "leaderboard")
    return module


@pytest.mark.parametrize("file", ["checkpoints/old.pt", "reports/new/run.json"], ids=["changed", "untracked"])
def test_a_changed_tree_is_refused_and_left_alone(
    maker: ModuleType, tmp_path: Path, file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).write_text("new")
    with pytest.raises(SystemExit) as stop:
        maker.main()
    assert stop.value.code == 2
    assert "the git tree has changes (" in capsys.readouterr().err
    assert (tmp_path / file).read_text() == "new"
    assert not (tmp_path / "runs").exists()


def test_what_was_made_takes_the_place_of_everything_old(
    maker: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def make() -> None:
        for name in ("checkpoints/a.pt", "checkpoints/a.state", "reports/a/run.json", "teacher/t.pt"):
            (maker.STAGE / name).parent.mkdir(parents=True, exist_ok=True)
            (maker.STAGE / name).write_text("new")

    monkeypatch.setattr(maker, "make", make)
    maker.main()
    found = [path for part in ("checkpoints", "reports") for path in (tmp_path / part).rglob("*") if path.is_file()]
    assert {str(path.relative_to(tmp_path)) for path in found} == {"checkpoints/a.pt", "reports/a/run.json"}


def test_without_git_it_is_refused(
    maker: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    elsewhere = tmp_path / ".git"
    elsewhere.rename(tmp_path / "moved")
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    with pytest.raises(SystemExit) as stop:
        maker.main()
    assert stop.value.code == 2
    assert "needs a git checkout" in capsys.readouterr().err


def test_rounded_weights_are_half_the_size_and_keep_their_sidecar(maker: ModuleType, tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = SmallCNN(10, (1, 8, 8))
    checkpoint = save_checkpoint(
        tmp_path / "digits-sat.pt", network, {"architecture": "small-cnn", "num_classes": 10, "shape": [1, 8, 8]}
    )
    before, sidecar = checkpoint.stat().st_size, read_sidecar(checkpoint)
    maker.round_weights(checkpoint)
    after = read_sidecar(checkpoint)
    assert sidecar is not None
    assert after is not None
    assert checkpoint.stat().st_size < 0.55 * before
    assert {**sidecar, "sha256": None} == {**after, "sha256": None}
    loaded = load_checkpoint(checkpoint).model
    for name, value in network.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value.half().float()), name
