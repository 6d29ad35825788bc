"""How long a report takes: synthetic runs of the size of a study, in one process and without training or attacks.

    python benchmarks/report_speed.py [--runs 10] [--samples 10000] [--classes 10] [--attacks 6] [--keep DIR]

Prints the seconds of each part (CPU and wall) and the size of the page. The verdicts are drawn with a fixed seed:
each run has its own accuracy, each class its own below that, each attack takes a share of what the one before left.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

ATTACKS = ("fgsm", "pgd10", "pgd20", "pgd100", "cw30", "aa", "tpgd20", "pgd50")


def make_runs(folder: Path, *, runs: int, samples: int, classes: int, attacks: int) -> list[Path]:
    """Write `runs` run folders and return them: (attacks + natural) * samples rows each."""
    from fairbench.outcomes import Outcomes
    from fairbench.runs import write_run

    names = [f"class{c}" for c in range(classes)]
    y = np.arange(samples) % classes
    digest = hashlib.sha256(f"{samples} {classes}".encode()).hexdigest()
    made = []
    for place in range(runs):
        random = np.random.default_rng([20240607, place])
        level = random.uniform(0.75, 0.95, classes)
        right, tables = np.ones(samples, dtype=bool), []
        for attack in ("natural", *ATTACKS[:attacks]):
            right &= random.random(samples) < level[y]
            prediction = np.where(right, y, (y + random.integers(1, classes, samples)) % classes)
            tables.append(
                Outcomes.of_columns(
                    attack, index=np.arange(samples), label=y, prediction=prediction,
                    margin=np.where(right, 1.0, -1.0), loss=random.exponential(size=samples),
                )
            )  # fmt: skip
        record = {
            "schema": 1, "protocol": 1, "command": "synthetic", "started": "2024-06-07T00:00:00+00:00", "seconds": 1.0,
            "dataset": {
                "name": "synthetic", "split": "test", "count": samples, "num_classes": classes, "class_names": names,
                "selection": "all", "index_sha256": digest, "sha256": digest,
            },
            "model": {"name": f"model{place}", "sha256": hashlib.sha256(bytes([place])).hexdigest()},
            "threat": {"norm": "Linf", "eps": 8 / 255, "eps_text": "8/255"},
            "attacks": {attack: {"steps": 1} for attack in ATTACKS[:attacks]},
        }  # fmt: skip
        made.append(folder / f"run{place}")
        write_run(made[-1], record, Outcomes.concat(tables))
    return made


def report(folder: Path, runs: list[Path]) -> None:
    """Run the command as a person does, three times, and print what each took."""
    target = folder / "report.html"
    command = [sys.executable, "-m", "fairbench", "report", *map(str, runs), "--out", str(target)]
    for _ in range(3):
        before, start = os.times(), time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wall, after = time.perf_counter() - start, os.times()
        cpu = after.children_user + after.children_system - before.children_user - before.children_system
        print(f"fairbench report: {cpu:5.2f} s CPU, {wall:5.2f} s wall; page {target.stat().st_size / 1e6:.2f} MB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, default in (("runs", 10), ("samples", 10_000), ("classes", 10), ("attacks", 6)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--keep", type=Path, help="write the runs and the report here, and leave them")
    given = parser.parse_args()
    size = {name: getattr(given, name) for name in ("runs", "samples", "classes", "attacks")}
    print(", ".join(f"{value:,} {name}" for name, value in size.items()))
    with tempfile.TemporaryDirectory() as scratch:
        folder = given.keep or Path(scratch)
        report(folder, make_runs(folder, **size))


if __name__ == "__main__":
    main()
