"""`torchrun ... -m fairbench train`: two processes through the command line end as one does.

In float32, with the small CNN of digits, which has no batch norm: rows are summed in another order, so that numbers
agree to rounding. With batch norm each process normalises by its own rows and nothing here is claimed
(`--sync-batch-norm` on CUDA). tests/training/test_two_process_training.py is the same for every method, in float64.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from fairbench.cli import run

pytestmark = pytest.mark.slow

TEACHER = Path(__file__).parents[2] / "checkpoints" / "digits-trades.pt"
LAUNCHER = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "fairbench"]
#: 100 images in batches of 34: three steps of 17 and 17 rows, and one of 16 and 16.
TINY = ["--samples-per-class", "10", "--epochs", "3", "--batch-size", "34", "-p", "steps=3"]
#: The largest differences measured: 4e-6 in DAFA's weights, 5e-7 in losses, 3e-5 in WAT's weights of the network.
TOLERANCE = 1e-4
STATES = {
    "dafa": {"dafa.class_weight"},
    "wat": {"wat.class_weight"},
    "absld": {"absld.natural_temperature", "absld.robust_temperature"},
    "fair-ard": {"fair-ard.class_weight"},
}


def two(arguments):
    """Run the command line as two processes of torchrun."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [*LAUNCHER, *map(str, arguments)], capture_output=True, text=True, timeout=600, env=environment
    )


def log_of(folder: Path, method: str) -> list[dict]:
    lines = [json.loads(line) for line in (folder / f"digits-{method}.log.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name != "seconds"} for line in lines]


def assert_near(found, wanted, path="") -> None:
    """Numbers within TOLERANCE, and all else equal; pytest.approx takes no nested values."""
    if isinstance(wanted, dict):
        assert found.keys() == wanted.keys(), path
        for name, value in wanted.items():
            assert_near(found[name], value, f"{path}/{name}")
    elif isinstance(wanted, list):
        assert len(found) == len(wanted), path
        for place, value in enumerate(wanted):
            assert_near(found[place], value, f"{path}/{place}")
    elif isinstance(wanted, float):
        assert found == pytest.approx(wanted, rel=0, abs=TOLERANCE), path
    else:
        assert found == wanted, path


@pytest.mark.parametrize("method", STATES)
def test_class_state_losses_and_counts_are_those_of_one_process(tmp_path, method):
    """And the radii, what validation found and the weights; DAFA's come after two of three epochs."""
    teacher = ["--teacher", TEACHER] if method in {"absld", "fair-ard"} else []
    command = ["train", "--dataset", "digits", "--method", method, *teacher, *TINY, "--out"]
    done = two([*command, tmp_path / "two"])
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout == f"{tmp_path / 'two' / f'digits-{method}.pt'}\n"
    assert done.stderr.count("every value is in") == 1, "one process speaks"
    assert run([str(part) for part in [*command, tmp_path / "one"]]) == 0
    found, wanted = (log_of(tmp_path / name, method) for name in ("two", "one"))
    assert_near(found, wanted)
    first, last = wanted[0]["class_state"], wanted[-1]["class_state"]
    assert set(last) == STATES[method]
    for name, values in last.items():
        moved = max(abs(a - b) for a, b in zip(values, first[name], strict=True))
        assert moved > 0.05, f"{name} moved by {moved}: within the tolerance it would prove nothing"
    weights = [torch.load(tmp_path / name / f"digits-{method}.pt", weights_only=True) for name in ("two", "one")]
    for name, value in weights[1].items():
        torch.testing.assert_close(weights[0][name], value, rtol=0, atol=TOLERANCE)
    made_with = json.loads((tmp_path / "two" / f"digits-{method}.json").read_text())["made_with"]
    assert made_with["processes"] == 2


def test_a_row_that_is_left_over_is_skipped_by_one_process_too(tmp_path):
    """100 images in batches of 33: three steps of 17 and 16 rows, and one row, of which no step is made."""
    options = ["--dataset", "digits", "--method", "sat", "--samples-per-class", "10", "--epochs", "2", "-p", "steps=2"]
    command = ["train", *options, "--batch-size", "33", "--lr", "0.01", "--out"]
    done = two([*command, tmp_path / "two"])
    assert done.returncode == 0, done.stderr[-2000:]
    assert "warning: 2 steps were skipped" in done.stderr
    assert run([*command, str(tmp_path / "one")]) == 0
    found, wanted = (log_of(tmp_path / name, "sat") for name in ("two", "one"))
    assert_near(found, wanted)
    assert [line["forwards"] for line in found] == [99 * 3] * 2


def test_two_processes_make_a_damaged_checkpoint_again(tmp_path):
    """Both see that it is damaged, and one of them removes the state: the second would find none to remove."""
    command = ["train", "--dataset", "digits", "--method", "sat", *TINY, "--out", str(tmp_path)]
    assert run(command) == 0
    path = tmp_path / "digits-sat.pt"
    whole = torch.load(path, weights_only=True)
    path.write_bytes(path.read_bytes()[:-1])
    done = two(command)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stderr.count("is missing or damaged: training it again") == 1
    again = torch.load(path, weights_only=True)
    for name, value in whole.items():
        torch.testing.assert_close(again[name], value, rtol=0, atol=TOLERANCE)
    made_with = json.loads(path.with_suffix(".json").read_text())["made_with"]
    assert made_with["processes"] == 2
