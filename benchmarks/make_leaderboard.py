"""Make the committed checkpoints, their runs and the leaderboard again: checkpoints/ and reports/.

    python benchmarks/make_leaderboard.py

Digits, Linf 0.1, seed 0, one thread. The students' teacher is made in runs/leaderboard and not committed. The tests
re-evaluate these runs under `fairbench gate --same`; change them only together with "Numbers that changed" in
CHANGELOG.md.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

METHODS = ("natural", "sat", "trades", "rslad", "absld")
#: (suffix of the run, arguments of `fairbench eval`)
EVALUATIONS = (
    ("", ("--attacks", "fgsm,pgd20,cw30")),
    ("-aa", ("--attacks", "aa", "--samples-per-class", "2")),
)


def fairbench(*arguments: str) -> None:
    print("fairbench", shlex.join(arguments), flush=True)
    subprocess.run(
        [sys.executable, "-m", "fairbench", *arguments],
        check=True, env=os.environ | {"OMP_NUM_THREADS": "1"}, stdout=subprocess.DEVNULL,
    )  # fmt: skip


def main() -> None:
    os.chdir(Path(__file__).resolve().parent.parent)
    train = ("train", "--dataset", "digits", "--seed", "0", "--method")
    made = ("--model", "wide-cnn", "--name", "digits-teacher", "--out", "runs/leaderboard")
    fairbench(*train, "trades", *made)
    runs = []
    for name in METHODS:
        teacher = ("--teacher", "runs/leaderboard/digits-teacher.pt") if name in ("rslad", "absld") else ()
        fairbench(*train, name, "--name", f"digits-{name}", "--out", "checkpoints", *teacher)
        for suffix, arguments in EVALUATIONS:
            run = f"reports/digits-{name}{suffix}"
            fairbench("eval", f"checkpoints/digits-{name}.pt", *arguments, "--threads", "1", "--out", run)
            runs.append(run)
    fairbench("leaderboard", *runs, "--out", "reports")


if __name__ == "__main__":
    main()
