"""`fairbench eval --processes N`: the bytes of one process, one sentence where any fails, nobody left behind."""

from __future__ import annotations

import os
import runpy
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fairbench.runs import read_run

KILLS = runpy.run_path(str(Path(__file__).parents[2] / "benchmarks" / "kills.py"), run_name="kills")
#: A model file of somebody's own, whose second process does `{does}` as soon as it is attacked.
STRANGE = """
import os, signal
import torch
from fairbench.models import build_model

class Strange(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.net = build_model("small-cnn", num_classes=10, shape=(1, 8, 8))
    def forward(self, x):
        if os.environ.get("RANK") in {ranks} and x.requires_grad and len(x) > 2:
            {does}
        return self.net(x)

def model():
    return Strange()
"""


def begin(*arguments: object, **options) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "fairbench", "eval", *map(str, arguments)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, **options
    )


def sentences(err: str) -> list[str]:
    return [line for line in err.splitlines() if line.startswith("fairbench: ")]


def test_two_processes_give_the_bytes_of_one(checkpoint, quick, evaluated):
    shared = (checkpoint, *quick, "--batch-size", 8, "--threads", 1)
    assert evaluated(*shared, "--out", "one")[0] == 0
    command = begin(*shared, "--out", "two", "--processes", 2)
    out, err = command.communicate(timeout=120)
    assert command.returncode == 0, err
    assert out.splitlines()[-1] == "two"
    assert out.count("Accuracy per class") == 1  # one table, not one per process
    assert KILLS["differences"](Path("one"), Path("two"), KILLS["APART"] | {"commit"}) == []
    record = read_run(Path("two")).record
    assert record["processes"] == 2
    assert "--processes 2" in record["command"]


def test_torchrun_gives_the_bytes_of_one(checkpoint, quick, evaluated):
    shared = (checkpoint, *quick, "--attacks", "pgd5,aa(steps=3,queries=20)", "--batch-size", 8, "--threads", 1)
    assert evaluated(*shared, "--out", "one")[0] == 0
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [*launcher, "-m", "fairbench", "eval", *map(str, shared), "--out", "two"],
        capture_output=True, text=True, timeout=120, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Accuracy per class") == 1
    assert KILLS["differences"](Path("one"), Path("two"), KILLS["APART"] | {"commit"}) == []
    assert read_run(Path("two")).record["processes"] == 2


def test_processes_without_work_are_told(checkpoint, quick):
    command = begin(checkpoint, *quick, "--processes", 2)
    _, err = command.communicate(timeout=120)
    assert command.returncode == 0
    assert "only 1 of 2 processes have work: all images are 1 block(s) of 256" in " ".join(err.split())


def test_a_refusal_is_one_sentence(checkpoint):
    for arguments in (["--attacks", "fgms"], ["--attacks", "fgsm", "--norm", "L2", "--eps", "none"]):
        command = begin(checkpoint, *arguments, "--processes", 2)
        _, err = command.communicate(timeout=120)
        assert (command.returncode, len(sentences(err))) == (2, 1), err
    checkpoint.with_suffix(".json").unlink()
    command = begin(checkpoint, "--attacks", "fgsm", "--dataset", "digits", "--model", "wide-cnn", "--processes", 2)
    _, err = command.communicate(timeout=120)
    assert (command.returncode, len(sentences(err))) == (2, 1), err


@pytest.mark.parametrize("ranks", [["1"], ["0"], ["0", "1"]])
@pytest.mark.parametrize(
    ("does", "code", "words"),
    [
        ("os.kill(os.getpid(), signal.SIGKILL)", 128 + signal.SIGKILL, "of 2 was ended from outside (SIGKILL)"),
        ('raise ValueError("something strange")', 70, "something strange"),
        ("x = x * torch.nan", 2, "NaN"),
    ],
)
def test_a_process_that_fails_ends_all(checkpoint, ranks, does, code, words):
    model = Path("strange.py")
    model.write_text(STRANGE.format(does=does, ranks=ranks))
    import torch

    from fairbench.models.load import load_model

    torch.save({f"net.{key}": value for key, value in load_model(checkpoint).state_dict().items()}, "strange.pt")
    shared = ("--model", "strange.py:model", "--dataset", "digits", "--samples-per-class", 5, "--batch-size", 8)
    command = begin("strange.pt", *shared, "--attacks", "aa(parts=apgd-ce,steps=20)", "--out", "run", "--processes", 2)
    _, err = command.communicate(timeout=120)
    assert command.returncode == code, err
    assert words in err
    assert len(sentences(err)) == 1, err
    assert not (Path("run") / "run.json").exists()


def test_a_file_that_lies_about_is_not_taken_for_a_module(checkpoint, quick, tmp_path):
    """The installed program does not look for modules where it is called; its processes do not either."""
    Path("random.py").write_text("raise SystemExit('the wrong random')")
    program = "import sys; sys.path.pop(0); sys.argv[0] = 'fairbench'; from fairbench.cli import main; main()"
    arguments = ["eval", str(checkpoint), *quick, "--batch-size", "25", "--processes", "2", "--out", "run"]
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, timeout=120,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_as_many_processes_as_cores(checkpoint, quick, bad):
    assert "at most the number of cores" in bad(checkpoint, *quick, "--processes", 1000)


def test_torchrun_and_processes_are_one_too_many(checkpoint, quick, bad, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert "torchrun" in bad(checkpoint, *quick, "--processes", 2)
    monkeypatch.delenv("WORLD_SIZE")
    assert "--find-worst" in bad(checkpoint, "--find-worst", "--processes", 2)


def is_alive(group: int) -> bool:
    """Return whether any process of a group lives."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def wait_for_blocks(folder: Path) -> None:
    deadline = time.monotonic() + 60
    while not list(folder.glob("blocks/*/*.parquet")):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_ctrl_c_is_said_once_and_nobody_stays(checkpoint):
    long = (checkpoint, "--attacks", "aa", "--threads", 1, "--batch-size", 64, "--out", "run", "--processes", 2)
    command = begin(*long, start_new_session=True)
    wait_for_blocks(Path("run"))
    os.killpg(command.pid, signal.SIGINT)
    _, err = command.communicate(timeout=60)
    assert command.returncode == 130, err
    assert len(sentences(err)) == 1
    assert not is_alive(command.pid)


def test_a_kill_takes_all_processes_along_and_leaves_nothing_behind(checkpoint, monkeypatch):
    long = (checkpoint, "--attacks", "aa", "--threads", 1, "--batch-size", 64, "--out", "run", "--processes", 2)
    Path("temporary").mkdir()
    monkeypatch.setenv("TMPDIR", str(Path("temporary").resolve()))
    command = begin(*long, start_new_session=True)
    wait_for_blocks(Path("run"))
    assert list(Path("temporary").iterdir())
    command.kill()
    command.wait()
    deadline = time.monotonic() + 20
    while (alive := is_alive(command.pid)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not alive
    assert not list(Path("temporary").iterdir())
