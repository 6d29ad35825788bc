"""`fairbench check` in-process: exit codes, what it prints, and refusals in one sentence."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from fairbench.cli import run
from fairbench.evaluation.masking import black_box

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def checkpoint(tmp_path, monkeypatch) -> Path:
    monkeypatch.setattr(black_box, "QUERIES", 50)
    for ending in (".pt", ".json"):
        shutil.copy(ROOT / "checkpoints" / f"digits-sat{ending}", tmp_path)
    (tmp_path / "net.py").write_text(
        "import torch\nfrom fairbench.models import build_model\n\n\n"
        "class Masked(torch.nn.Sequential):\n"
        "    def forward(self, x):\n        return super().forward(torch.round(x * 4) / 4)\n\n\n"
        "def quantised():\n"
        "    network = build_model('small-cnn', num_classes=10, shape=(1, 8, 8))\n"
        "    return Masked(*network) if isinstance(network, torch.nn.Sequential) else wrap(network)\n\n\n"
        "def wrap(network):\n"
        "    inner = network.forward\n"
        "    network.forward = lambda x: inner(torch.round(x * 4) / 4)\n"
        "    return network\n"
    )
    return tmp_path / "digits-sat.pt"


def check(capsys, *arguments) -> tuple[int, str, str]:
    code = run(["check", *(str(argument) for argument in arguments), "--samples-per-class", "2"])
    printed = capsys.readouterr()
    return code, printed.out, printed.err


def test_a_clean_model_exits_0(checkpoint, capsys):
    code, out, err = check(capsys, checkpoint)
    assert code == 0, err
    assert "not evaluated: transfer" in out
    assert "--transfer-from" in out
    assert out.splitlines()[-1].startswith("no flag raised by 9 probes on 20 images")


def test_a_masked_model_exits_1_with_evidence_and_advice(checkpoint, capsys):
    code, out, err = check(capsys, checkpoint, "--model", f"{checkpoint.parent / 'net.py'}:quantised")
    assert code == 1, err
    assert "zero-gradients" in out
    assert "BPDA" in out
    assert out.splitlines()[-1].startswith("flagged: zero-gradients")


def test_what_eval_refuses_exits_2(checkpoint, capsys):
    for arguments in (
        ("--transfer-model", "small-cnn"), ("--eps", "8"), ("--eps", "0"), ("--norm", "L3"), ("--norm", "L2"),
        ("--device", "tpu"), ("--accept", "nan-logits"), ("--transfer-from", "nowhere.pt"), ("--eps", ""),
    ):  # fmt: skip
        code, out, err = check(capsys, checkpoint, *arguments)
        assert (code, out) == (2, ""), arguments
        assert sum(line.startswith("fairbench: ") for line in err.splitlines()) == 1
        assert "Traceback" not in err


@pytest.mark.slow
def test_transfer_from_another_checkpoint(checkpoint, capsys):
    code, out, err = check(capsys, checkpoint, "--transfer-from", ROOT / "checkpoints" / "digits-trades.pt")
    assert code == 0, err
    assert "not evaluated" not in out
    assert "transfer)" in out
