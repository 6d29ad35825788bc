"""Adversarial examples on disk: exactly what was judged, and the same files after any interruption."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from fairbench.errors import BadInput
from fairbench.evaluation import store
from fairbench.evaluation.evaluate import evaluate
from fairbench.evaluation.examples import ExampleWriter, example_path
from fairbench.outcomes import Outcomes
from fairbench.progress import Silent
from fairbench.provenance import sha256_file
from fairbench.runs import read_run

ATTACKS = "fgsm,pgd5"
SCRIPT = Path(__file__).with_name("small_run.py")
#: 45 samples in blocks of 4: 12 blocks of each of natural and 2 attacks.
BLOCKS = 36


def run_into(folder, model, dataset, progress=None, attacks=ATTACKS, batch_size=4, **options):
    return evaluate(
        model, dataset, attacks, eps="0.1", batch_size=batch_size, out=folder, progress=progress,
        save_adversarial=True, **options,
    )  # fmt: skip


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def assert_same_run(one: Path, other: Path) -> None:
    mine, theirs = files(one), files(other)
    a, b = (json.loads(side.pop("run.json")) for side in (mine, theirs))
    assert mine == theirs
    assert {key for key in a if a[key] != b[key]} <= {"seconds", "command", "started", "processes", "commit"}


@pytest.fixture
def undisturbed(model, dataset, tmp_path):
    run_into(tmp_path / "undisturbed", model, dataset)
    return tmp_path / "undisturbed"


class Stops(Silent):
    def __init__(self, after):
        self.after, self.seen = after, 0

    def advance(self, bar, amount=1):
        self.seen += 1
        if self.seen == self.after:
            raise KeyboardInterrupt


class Counts(Silent):
    seen = 0

    def advance(self, bar, amount=1):
        self.seen += 1


def test_the_files_hold_what_the_table_says(model, dataset, undisturbed):
    run = read_run(undisturbed)
    assert sorted(path.name for path in undisturbed.iterdir()) == [
        "classifier.json", "examples", "examples.json", "metrics.json", "outcomes.parquet", "run.json",
    ]  # fmt: skip
    ledger = json.loads((undisturbed / "examples.json").read_text())
    assert ledger["units"] == ["fgsm", "pgd5"]
    assert len(ledger["files"]) == 24
    assert run.record["examples"]["sha256"] == sha256_file(undisturbed / "examples.json")
    assert run.record["examples"]["bytes"] == sum(path.stat().st_size for path in undisturbed.rglob("*.safetensors"))
    position = {int(index): place for place, index in enumerate(dataset.index)}
    for attack in ("fgsm", "pgd5"):
        rows = run.outcomes.of(attack).set_index("index")
        seen = 0
        for number in range(12):
            path = example_path(attack, 4, number)
            assert ledger["files"][path] == sha256_file(undisturbed / path)
            stored = load_file(undisturbed / path)
            for index, x_adv in zip(stored["index"].tolist(), stored["x_adv"], strict=True):
                x = dataset.x[position[index]]
                assert (x_adv - x).abs().max().item() == pytest.approx(rows.loc[index, "linf"], abs=1e-7)
                assert int(model(x_adv[None]).argmax()) == rows.loc[index, "prediction"]
                seen += 1
        assert seen == 45


def test_a_cascade_keeps_the_examples_of_survivors_only(model, dataset, tmp_path):
    few = dataset.take(dataset.index.argsort()[:6], selection="6")
    run = run_into(tmp_path, model, few, attacks="aa", batch_size=6)
    before = run.outcomes.of("natural")
    broken = 0
    for part in ("apgd-ce", "apgd-t", "fab-t", "square"):
        rows = run.outcomes.of(f"aa/{part}")
        stored = load_file(tmp_path / example_path(f"aa/{part}", 6, 0))
        kept = set(stored["index"].tolist()) if stored else set()
        survivors = set(before[before["prediction"] == before["label"]]["index"])
        newly = survivors - set(rows[rows["prediction"] == rows["label"]]["index"])
        assert newly <= kept <= survivors
        broken += len(newly)
        before = rows
    assert broken > 0


def test_the_order_of_the_samples_changes_nothing(model, dataset, tmp_path, undisturbed):
    import numpy as np

    shuffled = dataset.take(np.random.default_rng(5).permutation(len(dataset)), selection="all")
    run_into(tmp_path / "run", model, shuffled)
    for name, content in files(undisturbed).items():
        if name.startswith("examples"):
            assert (tmp_path / "run" / name).read_bytes() == content


@pytest.mark.parametrize("after", [13, BLOCKS])
def test_an_interrupted_run_ends_with_the_same_examples(after, model, dataset, tmp_path, undisturbed):
    with pytest.raises(KeyboardInterrupt):
        run_into(tmp_path / "run", model, dataset, Stops(after))
    left = Counts()
    run_into(tmp_path / "run", model, dataset, left)
    assert left.seen == BLOCKS - after
    assert_same_run(tmp_path / "run", undisturbed)


def test_a_block_without_its_examples_is_not_finished(model, dataset, tmp_path, undisturbed):
    """Lost examples are computed again, and rows are never on disk before their examples."""
    with pytest.raises(KeyboardInterrupt):
        run_into(tmp_path / "run", model, dataset, Stops(20))
    (tmp_path / "run" / example_path("fgsm", 4, 3)).unlink()
    left = Counts()
    run_into(tmp_path / "run", model, dataset, left)
    assert left.seen == BLOCKS - 20 + 1
    assert_same_run(tmp_path / "run", undisturbed)


def test_examples_are_written_before_the_rows(model, dataset, tmp_path, undisturbed, monkeypatch):
    def killed(self, path):
        if "pgd5" in str(path):
            raise KeyboardInterrupt
        write(self, path)

    write = Outcomes.write
    with monkeypatch.context() as patch:
        patch.setattr(Outcomes, "write", killed)
        with pytest.raises(KeyboardInterrupt):
            run_into(tmp_path / "run", model, dataset)
    assert (tmp_path / "run" / example_path("pgd5", 4, 0)).exists()
    run_into(tmp_path / "run", model, dataset)
    assert_same_run(tmp_path / "run", undisturbed)


def test_a_kill_between_the_last_writes_is_repaired(model, dataset, tmp_path, undisturbed, monkeypatch):
    import fairbench.evaluation.evaluate as module

    def killed(*args):
        raise KeyboardInterrupt

    for patched, name in ((module, "write_run"), (store.FolderStore, "remove")):
        with monkeypatch.context() as patch:
            patch.setattr(patched, name, killed)
            with pytest.raises(KeyboardInterrupt):
                run_into(tmp_path / "run", model, dataset)
    run_into(tmp_path / "run", model, dataset)
    assert_same_run(tmp_path / "run", undisturbed)


class OutOfMemory(nn.Module):
    """Fits nineteen gradient forwards of eight images, ten of them before any attack, and no more."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network, self.large = network, 0

    def forward(self, x):
        if x.requires_grad and len(x) == 8:
            self.large += 1
            if self.large > 19:
                raise torch.OutOfMemoryError
        return self.network(x)


def test_after_halving_only_examples_of_the_last_block_size_stay(model, dataset, tmp_path, undisturbed):
    """FGSM fits in blocks of 8 and is written; PGD does not: both are computed in blocks of 4 then."""
    failing = OutOfMemory(model).eval()
    run = run_into(tmp_path / "run", failing, dataset, batch_size=8)
    assert failing.large > 15, "FGSM's blocks had been computed in the old size"
    assert run.record["block_size"] == 4
    for name, content in files(undisturbed).items():
        if name.startswith("examples"):
            assert (tmp_path / "run" / name).read_bytes() == content
    assert set(files(tmp_path / "run")) == set(files(undisturbed))


def test_what_a_failed_block_left_is_forgotten(tmp_path):
    writer = ExampleWriter(tmp_path)
    x = torch.zeros(2, 1, 2, 2)
    writer.keep("pgd5", torch.tensor([3, 8]), x + torch.tensor([0.0, 0.1])[:, None, None, None], x)
    writer.forget()
    assert writer._judged == {}


def test_nothing_is_kept_without_a_folder_and_never_mixed(model, dataset, tmp_path):
    with pytest.raises(BadInput, match="run folder"):
        run_into(None, model, dataset)
    evaluate(model, dataset, "fgsm", eps="0.1", batch_size=4, out=tmp_path)
    assert not (tmp_path / "examples").exists()
    with pytest.raises(BadInput, match="adversarial examples"):
        run_into(tmp_path, model, dataset, attacks="fgsm")


def start(folder: Path, **environment: str) -> subprocess.Popen[str]:
    command = [sys.executable, str(SCRIPT), str(folder), ATTACKS, "4", "save-adversarial"]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1", **environment}
    )


def test_a_kill_and_then_two_processes_give_the_bytes_of_one(tmp_path, undisturbed):
    killed = start(tmp_path / "run")
    assert killed.stdout is not None
    for _ in range(17):
        assert killed.stdout.readline() == "block\n"
    killed.send_signal(signal.SIGKILL)
    assert killed.wait() == -signal.SIGKILL
    killed.stdout.close()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": "2"}
    pair = [start(tmp_path / "run", RANK=str(rank), LOCAL_RANK=str(rank), **shared) for rank in range(2)]
    printed = [process.communicate()[0] for process in pair]
    assert [process.returncode for process in pair] == [0, 0]
    assert all(text.count("block") > 0 for text in printed)
    assert sum(text.count("block") for text in printed) <= BLOCKS - 17
    assert_same_run(tmp_path / "run", undisturbed)
