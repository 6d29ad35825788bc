"""MNIST on the CPU: SAT, TRADES, RSLAD, ABSLD under one recipe, three seeds, one robust teacher: the README's table.

    python benchmarks/mnist_small.py --data-dir DIR --out runs/mnist-small

Every step is a `fairbench` command and resumes: stop it whenever you like. 600 training images of each class, 30
epochs (radius warm-up over the first 30 %), the last weights, all 10,000 test images, Linf 0.3. The teacher is a
wider network trained with TRADES on the same images.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from fairbench.metrics import seed_interval

METHODS = ("sat", "trades", "rslad", "absld")
SEEDS = (0, 1, 2)
ATTACKS = ("natural", "fgsm", "pgd20", "cw30")


def fairbench(*arguments: str) -> None:
    print("fairbench", shlex.join(arguments), flush=True)
    done = subprocess.run(
        [sys.executable, "-m", "fairbench", *arguments],
        env=os.environ | {"OMP_NUM_THREADS": "1"}, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    if done.returncode != 0:
        raise SystemExit(f"fairbench {shlex.join(arguments)} ended with {done.returncode}:\n{done.stderr[-2000:]}")


def train(out: Path, name: str, method: str, seed: int, *more: str) -> Path:
    fairbench(
        "train", "--dataset", "mnist", "--method", method, "--samples-per-class", "600", "--seed", str(seed),
        "--name", name, "--out", str(out / "checkpoints" / name), *more,
    )  # fmt: skip
    return out / "checkpoints" / name / f"{name}.pt"


def job(out: Path, teacher: Path, method: str, seed: int) -> None:
    name = f"{method}-{seed}"
    more = ("--teacher", str(teacher)) if method in ("rslad", "absld") else ()
    checkpoint = train(out, name, method, seed, *more)
    evaluate(out, checkpoint, name)


def evaluate(out: Path, checkpoint: Path, name: str) -> None:
    fairbench(
        "eval", str(checkpoint), "--attacks", "fgsm,pgd20,cw30", "--threads", "1", "--out", str(out / "runs" / name)
    )


def metrics(out: Path, name: str) -> dict[str, dict[str, object]]:
    return json.loads((out / "runs" / name / "metrics.json").read_text())["attacks"]


def values(out: Path, method: str, attack: str, metric: str) -> np.ndarray:
    found = [metrics(out, f"{method}-{seed}")[attack] for seed in SEEDS]
    picked = [m["worst_class"]["accuracy"] if metric == "worst" else m[metric] for m in found]
    return np.array(picked, dtype=np.float64)


def temperatures(out: Path, seed: int) -> str:
    lines = (out / "checkpoints" / f"absld-{seed}" / f"absld-{seed}.log.jsonl").read_text().splitlines()
    state = json.loads(lines[-1])["class_state"]
    parts = [f"{k.split('.')[-1]} {min(v):.2f} to {max(v):.2f} (x{max(v) / min(v):.1f})" for k, v in state.items()]
    return f"ABSLD seed {seed}, last epoch: " + "; ".join(parts)


def table(out: Path) -> str:
    head = "| method | " + " | ".join(f"{a} average | {a} worst | {a} NSD" for a in ATTACKS) + " |"
    rows = [head, "|---|" + "---|" * (3 * len(ATTACKS))]
    for method in METHODS:
        cells = []
        for attack in ATTACKS:
            for metric in ("average", "worst", "normalized_std"):
                v = values(out, method, attack, metric)
                scale, digits = (1, 3) if metric == "normalized_std" else (100, 1)
                cells.append(f"{scale * v.mean():.{digits}f} ± {scale * v.std(ddof=1):.{digits}f}")
        rows.append(f"| {method} | " + " | ".join(cells) + " |")
    claims = []
    for attack in ATTACKS:
        for metric, words in (("worst", "worst class"), ("average", "average")):
            difference = seed_interval(values(out, "absld", attack, metric), values(out, "rslad", attack, metric))
            claims.append("- " + difference.sentence(f"ABSLD - RSLAD, {attack}, {words}"))
    for other in ("sat", "trades"):
        difference = seed_interval(values(out, "absld", "pgd20", "worst"), values(out, other, "pgd20", "worst"))
        claims.append("- " + difference.sentence(f"ABSLD - {other.upper()}, pgd20, worst class"))
    teacher = metrics(out, "teacher")
    told = ", ".join(
        f"{a} {100 * float(str(teacher[a]['average'])):.1f} / worst {100 * teacher[a]['worst_class']['accuracy']:.1f}"  # type: ignore[index]
        for a in ATTACKS
    )
    moved = [temperatures(out, seed) for seed in SEEDS]
    return "\n".join([*rows, "", f"Teacher (wide-cnn, TRADES): {told}", "", *claims, "", *moved, ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-dir", help="folder that holds MNIST/raw; default: FAIRBENCH_DATA")
    parser.add_argument("--out", type=Path, default=Path("runs/mnist-small"))
    parser.add_argument("--jobs", type=int, default=2, help="trainings at a time, one thread each")
    args = parser.parse_args()
    if args.data_dir:
        os.environ["FAIRBENCH_DATA"] = args.data_dir
    teacher = train(args.out, "teacher", "trades", 0, "--model", "wide-cnn")
    with ThreadPoolExecutor(args.jobs) as pool:
        jobs = [pool.submit(evaluate, args.out, teacher, "teacher")]
        jobs += [pool.submit(job, args.out, teacher, method, seed) for seed in SEEDS for method in METHODS]
        for done in jobs:
            done.result()
    text = table(args.out)
    (args.out / "table.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
