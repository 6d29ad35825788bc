"""Two networks whose robust accuracy is known, on all 10,000 test images of MNIST: does AutoAttack come to it?

    FAIRBENCH_DATA=... python benchmarks/oracles.py
    FAIRBENCH_DATA=... python benchmarks/oracles.py --engine reference --oracle mnist_wk17a --samples-per-class 100

    mnist_fgsm    robust accuracy 82.93 at 0.3, published (locuslab/fast_adversarial): within 0.2 points
    mnist_wk17a   robust error at 0.1 proved by mixed-integer programming to be 4.38 % (arXiv 1711.07356): never more,
                  on any images, and on all of them at least 4.25 %

Each is one `fairbench eval` into its own folder under --out; stop it whenever you like, the same command continues. On
fewer images only the proved bound is checked: no subset of the test set holds more than 438 images that can be broken.
The part rows and classes beside each other are those of the original AutoAttack. Exit 1 where an oracle is missed.
"""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fairbench.outcomes import Outcomes
from fairbench.runs import read_run

ALL = 10_000


@dataclass(frozen=True)
class Oracle:
    """What is known of a checkpoint, robust accuracies in percent, on all test images.

    Attributes:
        eps: the radius.
        low: robust accuracy on all images is at least this.
        high: and at most this.
        most_broken: so many images of the 10,000 can be broken at all; None: not proved.
        parts: what the original comes to after its parts.
        classes: and in the classes, after `classes_after`.
        classes_after: a part, or "aa".
    """

    eps: str
    low: float
    high: float
    most_broken: int | None
    parts: dict[str, float]
    classes: tuple[float, ...]
    classes_after: str


ORACLES = {
    "mnist_fgsm": Oracle(
        "0.3", 82.93 - 0.2, 82.93 + 0.2, None,
        {"aa/apgd-ce": 86.65, "aa/apgd-t": 85.48, "aa/fab-t": 85.31, "aa/square": 82.93},
        (92.0, 95.1, 83.5, 79.7, 82.6, 79.4, 87.5, 84.7, 68.9, 73.9), "aa",
    ),
    "mnist_wk17a": Oracle(
        "0.1", 100 - 4.38, 100 - 4.25, 438, {"aa/apgd-t": 95.72},
        (98.3, 98.5, 94.9, 96.5, 95.3, 94.5, 97.9, 93.8, 93.1, 94.1), "aa/apgd-t",
    ),
}  # fmt: skip


def main(argv: Sequence[str] | None = None) -> int:
    options = _arguments().parse_args(argv)
    data = Path(os.environ.get("FAIRBENCH_DATA", "does-not-exist"))
    if not (data / "models").is_dir():
        raise SystemExit("FAIRBENCH_DATA must name a folder with MNIST/raw and models.")
    missed = False
    for name in options.oracles or list(ORACLES):
        folder = Path(options.out) / "-".join([name, options.engine, str(options.samples_per_class or "all")])
        _evaluate(name, data, folder, options)
        missed = judge(name, read_run(folder).outcomes) or missed
    return int(missed)


def judge(name: str, outcomes: Outcomes) -> bool:
    """Print what was found beside what is known, and return whether an oracle was missed."""
    oracle = ORACLES[name]
    robust, y = outcomes.robust("aa"), outcomes.labels("aa")
    broken, count = int((~robust).sum()), len(robust)
    found = 100 * float(robust.mean())
    print(f"{name}, Linf {oracle.eps}, {count} images: robust accuracy {found:.2f}, robust error {100 - found:.2f}")
    whole = count == ALL
    beside = "" if whole else " (all 10,000)"
    for part in [attack for attack in outcomes.attacks if attack.startswith("aa/")]:
        known = f", original {oracle.parts[part]:.2f}{beside}" if part in oracle.parts else ""
        print(f"  {part:12}{100 * float(outcomes.robust(part).mean()):7.2f}{known}")
    after = outcomes.robust(oracle.classes_after)
    classes = [100 * float(after[y == c].mean()) for c in range(10)]
    print(f"  classes after {oracle.classes_after}:", *(f"{value:.1f}" for value in classes))
    print(f"  original{beside}:".ljust(len(f"  classes after {oracle.classes_after}:")), *oracle.classes)
    missed = False
    if oracle.most_broken is not None:
        missed = broken > oracle.most_broken
        print(f"  {'MISSED' if missed else 'holds'}: {broken} images broken, proved: at most {oracle.most_broken}")
    if whole:
        # Robust accuracies of 10,000 images have two decimals; a bound must not fail by the last bit of a float.
        inside = oracle.low - 1e-9 <= found <= oracle.high + 1e-9
        missed |= not inside
        print(f"  {'holds' if inside else 'MISSED'}: {found:.2f} in [{oracle.low:.2f}, {oracle.high:.2f}]")
    else:
        print(f"  not all images: whether it lies in [{oracle.low:.2f}, {oracle.high:.2f}] is not decided")
    return missed


def _evaluate(name: str, data: Path, folder: Path, options: argparse.Namespace) -> None:
    arguments = [
        "eval", str(data / "models" / f"{name}.pt"), "--model", f"{data / 'models' / 'architectures.py'}:{name}",
        "--dataset", "mnist", "--attacks", "aa", "--eps", ORACLES[name].eps, "--engine", options.engine,
        "--threads", str(options.threads), "--processes", str(options.processes), "--out", str(folder),
    ]  # fmt: skip
    if options.samples_per_class is not None:
        arguments += ["--samples-per-class", str(options.samples_per_class)]
    if options.batch_size is not None:
        arguments += ["--batch-size", str(options.batch_size)]
    print("fairbench", shlex.join(arguments), flush=True)
    done = subprocess.run([sys.executable, "-m", "fairbench", *arguments], stdout=subprocess.DEVNULL)
    if done.returncode != 0:
        raise SystemExit(done.returncode)


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--oracle", action="append", dest="oracles", choices=tuple(ORACLES), help="repeatable; default: both")
    add("--engine", default="native", choices=("native", "reference"))
    add("--samples-per-class", type=int, help="the first N of each class; default: all 10,000 images")
    add("--batch-size", type=int)
    add("--threads", type=int, default=1, help="of each process")
    add("--processes", type=int, default=1)
    add("--out", default="runs/oracles", help="where both runs lie and continue")
    return parser


if __name__ == "__main__":
    sys.exit(main())
