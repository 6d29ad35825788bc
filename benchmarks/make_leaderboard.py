"""Make the committed checkpoints, their runs and the leaderboard again: checkpoints/ and reports/.

    python benchmarks/make_leaderboard.py

Digits, Linf 0.1, seed 0, one thread. Weights are rounded to float16 before they are evaluated, which halves what a
clone has to carry; they compute in float32 like any others. Everything is made in runs/leaderboard, from nothing, and
takes the place of the old files only when all of it is finished; the students' teacher stays there and is not
committed. It refuses a git tree with changes: the runs hold the commit that made them. The tests re-evaluate the runs
under `fairbench gate --same`; change them only together with "Numbers that changed" in CHANGELOG.md.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from fairbench.models.checkpoint import read_sidecar, save_checkpoint
from fairbench.models.load import load_checkpoint

ROOT = Path(__file__).resolve().parent.parent
STAGE = ROOT / "runs" / "leaderboard"
METHODS = ("natural", "sat", "trades", "rslad", "absld")
#: (folder and suffix of the run, arguments of `fairbench eval`) of what stands in the leaderboard
RANKED = (
    ("reports/{}", ("--attacks", "fgsm,pgd20,cw30")),
    ("reports/{}-aa", ("--attacks", "aa", "--samples-per-class", "10")),
)
#: What the tests evaluate again in seconds. It is too small to rank, and no leaderboard shows it.
GATED = ("reports/gate/{}-aa", ("--attacks", "aa", "--samples-per-class", "2"))


def fairbench(*arguments: str) -> None:
    print("fairbench", shlex.join(arguments), flush=True)
    subprocess.run(
        [sys.executable, "-m", "fairbench", *arguments],
        check=True, cwd=STAGE, stdout=subprocess.DEVNULL,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
    )  # fmt: skip


def refuse_changes() -> None:
    """Exit 2 unless the checkout is exactly a commit; files that git ignores do not count."""
    status = subprocess.run(["git", "status", "--porcelain"], cwd=ROOT, capture_output=True, text=True)
    if status.returncode != 0:
        print("the leaderboard needs a git checkout, because its runs hold the commit that made them.", file=sys.stderr)
        raise SystemExit(2)
    if status.stdout:
        changed = ", ".join(line[3:] for line in status.stdout.splitlines()[:3])
        print(
            f"the git tree has changes ({changed}), but the leaderboard's runs hold the commit that made them; "
            "commit or stash first.",
            file=sys.stderr,
        )
        raise SystemExit(2)


def round_weights(checkpoint: Path) -> None:
    """Store a checkpoint's weights in float16; its sidecar stays, but for the hash."""
    sidecar = read_sidecar(checkpoint)
    assert sidecar is not None
    save_checkpoint(checkpoint, load_checkpoint(checkpoint).model.half(), sidecar)


def make() -> None:
    """Train and evaluate everything in the stage, where the paths read as they will in the repository."""
    shutil.rmtree(STAGE, ignore_errors=True)
    STAGE.mkdir(parents=True)
    train = ("train", "--dataset", "digits", "--seed", "0", "--method")
    fairbench(*train, "trades", "--model", "wide-cnn", "--name", "digits-teacher", "--out", "teacher")
    ranked = []
    for method in METHODS:
        name = f"digits-{method}"
        teacher = ("--teacher", "teacher/digits-teacher.pt") if method in ("rslad", "absld") else ()
        fairbench(*train, method, "--name", name, "--out", "checkpoints", *teacher)
        round_weights(STAGE / "checkpoints" / f"{name}.pt")
        for run, arguments in (*RANKED, GATED):
            folder = run.format(name)
            fairbench("eval", f"checkpoints/{name}.pt", *arguments, "--threads", "1", "--out", folder)
            if run != GATED[0]:
                ranked.append(folder)
    fairbench("leaderboard", *ranked, "--out", "reports")


def replace() -> None:
    """Put what was made in the place of the committed folders, without the states that training continues from."""
    for name in ("checkpoints", "reports"):
        shutil.rmtree(ROOT / name)
        shutil.copytree(STAGE / name, ROOT / name, ignore=shutil.ignore_patterns("*.state"))


def main() -> None:
    refuse_changes()
    make()
    refuse_changes()
    replace()


if __name__ == "__main__":
    main()
