"""Kill -9 at random instants during one evaluation: the same command ends in the bytes of an undisturbed run.

    python benchmarks/kills.py                                  # 30 kills, digits, every attack, 2 digits per class
    python benchmarks/kills.py --engine reference --samples-per-class 5 --kills 100 --seed 1
    python benchmarks/kills.py --attacks aa --samples-per-class 6 --batch-size 60 --state-seconds 0.2    # in one block

First the command runs undisturbed. Then it is started again and again in another folder and killed at an instant drawn
so that the kills spread over the whole work; one in five falls before the work, while the process starts. After the
last kill the command runs to its end. outcomes.parquet and metrics.json must be equal byte for byte, run.json in
everything but what says when and how it ran, and no other file may be left. Exit 1 where something differs.

Within a block an attack writes its state once a minute, which so short an evaluation never sees: --state-seconds makes
it more often, in the evaluation that is killed. The kills that left such a state behind are counted.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
#: What an interruption may change in run.json.
APART = frozenset({"seconds", "command", "started", "processes"})
#: The command line with another interval between states; `python -m fairbench` in every other way.
OFTEN = """
from fairbench.attacks import attack_memory
attack_memory.SECONDS = {seconds}
from fairbench.cli import main
main()
"""
#: What an evaluation prints as soon as it works: "natural: 0 of 200".
WORKING = re.compile(r": [\d,]+ of [\d,]+(, about [\d:]+ left)?$")


def differences(one: Path, other: Path, apart: Collection[str] = APART) -> list[str]:
    """Return what two finished run folders differ in, run.json's keys `apart` left out; empty where they are equal."""
    names = [sorted(str(path.relative_to(folder)) for path in folder.rglob("*")) for folder in (one, other)]
    found = [f"only in one of them: {name}" for name in sorted(set(names[0]) ^ set(names[1]))]
    for name in sorted(set(names[0]) & set(names[1]) - {"run.json"}):
        if (one / name).read_bytes() != (other / name).read_bytes():
            found.append(f"{name} differs")
    if "run.json" in names[0] and "run.json" in names[1]:
        a, b = (json.loads((folder / "run.json").read_text()) for folder in (one, other))
        unequal = {key for key in {**a, **b} if a.get(key) != b.get(key)} - set(apart)
        found += [f"run.json differs in {key}" for key in sorted(unequal)]
    return found


@dataclass
class Started:
    """A running evaluation, and when its work began; None: not yet."""

    process: subprocess.Popen[str]
    begun_at: float
    working_at: float | None = None
    last_line: str = ""

    def listen(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            if self.working_at is None and WORKING.search(line):
                self.working_at = time.monotonic()
            self.last_line = line.strip()


def start(command: Sequence[str]) -> tuple[Started, threading.Thread]:
    process = subprocess.Popen(
        command, cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    running = Started(process, time.monotonic())
    listener = threading.Thread(target=running.listen, daemon=True)
    listener.start()
    return running, listener


def finish(command: Sequence[str]) -> tuple[float, float]:
    """Run the command to its end; return the seconds until its work began, and those of the work."""
    running, listener = start(command)
    code = running.process.wait()
    listener.join()
    if code != 0:
        raise SystemExit(f"{shlex.join(command)} ended with {code}: {running.last_line}")
    ended = time.monotonic()
    # Killed after its last block, a run has only its files left to write.
    working = running.working_at or ended
    return working - running.begun_at, ended - working


def kill(command: Sequence[str], instant: float, *, while_working: bool) -> str | None:
    """Start the command and kill it `instant` seconds after its work began, or after its start.

    Returns what it was doing, None where it ended by itself before.
    """
    running, listener = start(command)
    while while_working and running.working_at is None and running.process.poll() is None:
        time.sleep(0.002)
    try:
        code = running.process.wait(timeout=instant)
    except subprocess.TimeoutExpired:
        running.process.send_signal(signal.SIGKILL)
        code = running.process.wait()
    listener.join()
    if code == -signal.SIGKILL:
        return running.last_line or "starting"
    if code != 0:
        raise SystemExit(f"{shlex.join(command)} ended with {code}: {running.last_line}")
    return None


def main(argv: Sequence[str] | None = None) -> int:
    options = _arguments().parse_args(argv)
    rng = random.Random(options.seed)
    folder = Path(options.out or tempfile.mkdtemp(prefix="kills-")).resolve()
    command = [
        sys.executable, "-m", "fairbench", "eval", options.checkpoint, "--attacks", options.attacks, "--threads", "1",
        "--engine", options.engine, "--samples-per-class", str(options.samples_per_class), "--batch-size",
        str(options.batch_size), "--out",
    ]  # fmt: skip
    if (folder / "undisturbed").exists() or (folder / "killed").exists():
        raise SystemExit(f"{folder} holds the runs of an earlier call; give another --out.")
    undisturbed, killed = [*command, str(folder / "undisturbed")], [*command, str(folder / "killed")]
    if options.state_seconds is not None:
        killed[1:3] = ["-c", OFTEN.format(seconds=options.state_seconds)]
    if options.processes > 1:
        killed += ["--processes", str(options.processes)]
    starting, working = finish(undisturbed)
    if working == 0:
        raise SystemExit("the evaluation printed no line such as 'natural: 0 of 20', which says that its work began.")
    print(f"undisturbed: {starting:.1f} s to start, {working:.1f} s of work", flush=True)
    done = with_state = 0
    while done < options.kills:
        while_working = rng.random() >= 0.2
        # Twice the mean at most: 30 kills together see about 30/31 of the work.
        instant = rng.uniform(0, 2 * working / (0.8 * options.kills + 1) if while_working else starting)
        doing = kill(killed, instant, while_working=while_working)
        if doing is None:
            print(f"ended by itself after {done} kills, too early for the others: give more samples", file=sys.stderr)
            break
        done += 1
        blocks = sum(1 for _ in (folder / "killed" / "blocks").rglob("*.parquet"))
        with_state += any(True for _ in (folder / "killed" / "blocks").rglob("*.state.safetensors"))
        print(
            f"kill {done}: {instant:.2f} s into its {'work' if while_working else 'start'}, "
            f"{blocks} blocks finished, doing: {doing}",
            flush=True,
        )
    finish(killed)
    found = differences(folder / "undisturbed", folder / "killed")
    print(
        "\n".join(found)
        or f"{done} kills, {with_state} of which left a state within a block: equal to the undisturbed run",
        flush=True,
    )
    return 1 if found or done < options.kills else 0


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--checkpoint", default="checkpoints/digits-sat.pt", help="with its sidecar; relative to the repository")
    add("--attacks", default="fgsm,pgd20,cw30,aa")
    add("--engine", default="native", choices=("native", "reference"))
    add("--samples-per-class", type=int, default=2)
    add("--batch-size", type=int, default=4, help="small, so that many blocks are there to be lost")
    add("--kills", type=int, default=30)
    add("--processes", type=int, default=1, help="of the evaluation that is killed; the other one has one")
    add("--state-seconds", type=float, help="between an attack's states, instead of 60; with one process")
    add("--seed", type=int, default=0, help="of the instants")
    add("--out", help="a new folder for both runs; default: a temporary one, which stays")
    return parser


if __name__ == "__main__":
    sys.exit(main())
