"""Nothing is lost: interruptions, kills, full disks, and several processes end in the bytes of an undisturbed run."""

from __future__ import annotations

import errno
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from fairbench import whole_file
from fairbench.errors import WriteFailed
from fairbench.evaluation.evaluate import evaluate
from fairbench.progress import Silent
from fairbench.runs import read_run

ATTACKS = "fgsm,pgd5,cw5(restarts=2),aa(steps=3,queries=20)"
SCRIPT = Path(__file__).with_name("small_run.py")
#: 45 samples in blocks of 4: 12 blocks of each of natural, 3 attacks and AutoAttack's 4 parts.
BLOCKS = 96


def run_into(folder, model, dataset, progress=None, attacks=ATTACKS, eps="0.1"):
    return evaluate(model, dataset, attacks, eps=eps, batch_size=4, out=folder, progress=progress)


#: The script that kills at random instants says what makes two runs the same.
KILLS = runpy.run_path(str(Path(__file__).parents[2] / "benchmarks" / "kills.py"), run_name="kills")


def assert_same_run(one: Path, other: Path) -> None:
    # "commit" is the checkout's, which somebody may move on while the tests run.
    assert KILLS["differences"](one, other, KILLS["APART"] | {"commit"}) == []
    written = ["classifier.json", "metrics.json", "outcomes.parquet", "run.json"]
    assert sorted(path.name for path in one.iterdir()) == written


@pytest.fixture
def undisturbed(model, dataset, tmp_path):
    run_into(tmp_path / "undisturbed", model, dataset)
    return tmp_path / "undisturbed"


class Stops(Silent):
    """Raises at the n-th finished block."""

    def __init__(self, after, error=KeyboardInterrupt):
        self.after, self.error, self.seen = after, error, 0

    def advance(self, bar, amount=1):
        self.seen += 1
        if self.seen == self.after:
            raise self.error


class Counts(Silent):
    seen = 0

    def advance(self, bar, amount=1):
        self.seen += 1


@pytest.mark.parametrize("after", [1, 12, 13, 30, 77, BLOCKS])
def test_an_interrupted_run_goes_on_where_it_stopped(after, model, dataset, tmp_path, undisturbed):
    with pytest.raises(KeyboardInterrupt):
        run_into(tmp_path / "run", model, dataset, Stops(after))
    assert not (tmp_path / "run" / "run.json").exists()
    left = Counts()
    run_into(tmp_path / "run", model, dataset, left)
    assert left.seen == BLOCKS - after
    assert_same_run(tmp_path / "run", undisturbed)


def test_autoattack_goes_on_between_its_parts(model, dataset, tmp_path):
    few = dataset.take(dataset.index.argsort()[:4], selection="4")
    # At so small a radius samples are left for every part: one without any moves no bar.
    run_into(tmp_path / "undisturbed", model, few, attacks="aa", eps="0.001")
    for after in (2, 4):
        with pytest.raises(KeyboardInterrupt):
            run_into(tmp_path / f"run-{after}", model, few, Stops(after), attacks="aa", eps="0.001")
        left = Counts()
        run_into(tmp_path / f"run-{after}", model, few, left, attacks="aa", eps="0.001")
        assert left.seen == 5 - after
        assert_same_run(tmp_path / f"run-{after}", tmp_path / "undisturbed")


def test_a_full_disk_is_said_in_one_sentence_and_loses_nothing(
    model, dataset, tmp_path, undisturbed, monkeypatch
):  # fmt: skip
    real, writes = os.fsync, []

    def full(handle):
        writes.append(handle)
        if len(writes) == 20:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(handle)

    monkeypatch.setattr(whole_file.os, "fsync", full)
    with pytest.raises(WriteFailed, match="No space left on device") as error:
        run_into(tmp_path / "run", model, dataset)
    assert error.value.exit_code == 74
    assert not list((tmp_path / "run").rglob("*.tmp"))
    left = Counts()
    run_into(tmp_path / "run", model, dataset, left)
    assert left.seen < BLOCKS
    assert_same_run(tmp_path / "run", undisturbed)


def test_a_kill_between_the_last_writes_is_repaired(model, dataset, tmp_path, undisturbed, monkeypatch):
    """run.json says that a run is complete: killed before it, the same command finishes; after it, it cleans up."""
    import fairbench.evaluation.evaluate as module

    def killed(*args):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(module, "write_run", killed)
        with pytest.raises(KeyboardInterrupt):
            run_into(tmp_path / "run", model, dataset)
    with monkeypatch.context() as patch:
        patch.setattr(module.FolderStore, "remove", killed)
        with pytest.raises(KeyboardInterrupt):
            run_into(tmp_path / "run", model, dataset)
    assert (tmp_path / "run" / "blocks").is_dir()
    run_into(tmp_path / "run", model, dataset)
    assert_same_run(tmp_path / "run", undisturbed)


def test_threads_are_those_the_run_was_begun_with(model, dataset, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        run_into(tmp_path, model, dataset, Stops(3))
    place = tmp_path / "blocks" / "settings.json"
    begun = json.loads(place.read_text())
    assert begun["threads"] == torch.get_num_threads()
    place.write_text(json.dumps({**begun, "threads": begun["threads"] + 1}))
    assert run_into(tmp_path, model, dataset).record["threads"] == begun["threads"] + 1


def start(folder: Path, **environment: str) -> subprocess.Popen[str]:
    command = [sys.executable, str(SCRIPT), str(folder), ATTACKS, "4"]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1", **environment}
    )


def kills(folder: Path, places: list[int]) -> None:
    for blocks in places:
        process = start(folder)
        assert process.stdout is not None
        for _ in range(blocks):
            assert process.stdout.readline() == "block\n"
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        process.stdout.close()
    process = start(folder)
    printed, _ = process.communicate()
    assert process.returncode == 0
    # At most one more block per kill was finished than the parent had read of, and none was lost.
    assert printed.count("block") <= BLOCKS - sum(places)


def test_three_kills(tmp_path, undisturbed):
    kills(tmp_path / "run", [1, 9, 14])
    assert_same_run(tmp_path / "run", undisturbed)


@pytest.mark.slow
def test_thirty_kills(tmp_path, undisturbed):
    kills(tmp_path / "run", [1, 2] * 15)
    assert_same_run(tmp_path / "run", undisturbed)


@pytest.mark.parametrize("count", [2, pytest.param(4, marks=pytest.mark.slow)])
def test_several_processes_give_the_bytes_of_one(count, tmp_path, undisturbed):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": str(count)}
    group = [start(tmp_path / "run", RANK=str(rank), LOCAL_RANK=str(rank), **shared) for rank in range(count)]
    printed = [process.communicate()[0] for process in group]
    assert [process.returncode for process in group] == [0] * count
    assert [text.count("block") for text in printed] == [BLOCKS // count] * count
    assert read_run(tmp_path / "run").record["processes"] == count
    assert_same_run(tmp_path / "run", undisturbed)
