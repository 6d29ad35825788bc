"""A trained network's checkpoint, and `fairbench eval` in-process."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from fairbench.cli import run
from fairbench.data import load_dataset
from fairbench.data.dataset import to_unit
from fairbench.models import build_model
from fairbench.models.checkpoint import save_checkpoint

SIDECAR = {
    "architecture": "small-cnn", "num_classes": 10, "shape": [1, 8, 8], "normalize": "none", "dataset": "digits",
    "eps_text": "0.1", "norm": "Linf", "method": "natural", "seed": 0, "log": "digits.log.jsonl",
}  # fmt: skip


@pytest.fixture(scope="session")
def trained() -> nn.Module:
    """A small network that reads digits well after a few passes."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = build_model("small-cnn", num_classes=10, shape=(1, 8, 8))
        train = load_dataset("digits", "train")
        x, y = to_unit(train.pixels(range(len(train)))), torch.from_numpy(train.y)
        optimiser = torch.optim.Adam(model.parameters(), 3e-3)
        for _ in range(40):
            optimiser.zero_grad()
            nn.functional.cross_entropy(model(x), y).backward()
            optimiser.step()
    return model.eval()


@pytest.fixture
def checkpoint(trained: nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The network with its sidecar and log, in the folder where the command runs."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "digits.log.jsonl").write_text('{"epoch": 0}\n')
    return save_checkpoint(tmp_path / "digits.pt", trained, SIDECAR)


@pytest.fixture
def quick() -> tuple[str, ...]:
    """Options of an evaluation that takes a fraction of a second."""
    return ("--attacks", "fgsm,pgd5", "--samples-per-class", "5")


@pytest.fixture
def evaluated(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """A function that runs `fairbench eval` and returns its exit code, stdout and stderr."""

    def call(*arguments: object) -> tuple[int, str, str]:
        code = run(["eval", *(str(argument) for argument in arguments)])
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return call


@pytest.fixture
def bad(evaluated: Callable[..., tuple[int, str, str]]) -> Callable[..., str]:
    """A function that runs `fairbench eval`, expects one sentence on stderr and nothing else, and returns it."""

    def call(*arguments: object, code: int = 2) -> str:
        found, out, err = evaluated(*arguments)
        assert found == code, err
        sentences = [line for line in err.splitlines() if line.startswith("fairbench: ")]
        assert len(sentences) == 1
        assert len(sentences[0]) < 620
        assert "Traceback" not in err
        assert "Warning" not in err
        assert out == ""
        return sentences[0]

    return call
