"""`--processes N`: one command as several processes of this machine, which share its work as under torchrun.

The process that a person started only watches the others: the first of them shows its progress and result as if it were
alone; where one fails the others are stopped, and its sentence is the answer. They end when the one that watches ends,
however it ends.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import click

from fairbench.errors import BadInput, OtherProcessEnded

#: Where the processes meet, and the pipe whose end tells that the one that watches is gone.
RENDEZVOUS, LIFELINE = "FAIRBENCH_RENDEZVOUS", "FAIRBENCH_LIFELINE"
_LOOK, _PATIENCE = 0.05, 5.0  # seconds


def run_in_processes(count: int | None, *, threads: int | None) -> bool:
    """Run the command that click is at as `count` processes and leave with their exit code.

    Args:
        count: how many; None, 1: this one.
        threads: of each, where the person asked for some; else the cores are shared out.

    Returns:
        False where this process has the work to do itself.

    Raises:
        BadInput: torchrun started this process already.
        click.exceptions.Exit: the others have done it.
    """
    if LIFELINE in os.environ:
        _end_with_the_watcher()
        return False
    if count is None or count == 1:
        return False
    if "WORLD_SIZE" in os.environ:
        raise BadInput("--processes starts processes of its own; leave it out under torchrun.")
    arguments = click.get_current_context().find_object(list) or sys.argv[1:]
    with tempfile.TemporaryDirectory() as place:
        raise click.exceptions.Exit(_watch(arguments, count, threads or max(cores() // count, 1), Path(place)))


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _watch(arguments: Sequence[str], count: int, threads: int, place: Path) -> int:
    """Start the processes and return the exit code of the command."""
    lifeline, held = os.pipe()
    shared = {
        "WORLD_SIZE": str(count), "OMP_NUM_THREADS": str(threads), LIFELINE: str(lifeline),
        RENDEZVOUS: (place / "rendezvous").as_uri(),
    }  # fmt: skip
    logs = [place / f"{rank}.log" for rank in range(count)]
    processes = []
    try:
        for rank in range(count):
            with logs[rank].open("wb") as log:
                processes.append(
                    subprocess.Popen(
                        [sys.executable, "-m", "fairbench", *arguments], pass_fds=(lifeline,),
                        stdout=subprocess.DEVNULL if rank else None, stderr=log if rank else None,
                        env=os.environ | shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
                    )
                )  # fmt: skip
        while True:
            codes = [process.poll() for process in processes]
            if all(code == 0 for code in codes[1:]) and codes[0] is not None:
                return _as_of_a_shell(codes[0])
            if any(code not in (None, 0) for code in codes):
                return _failed(processes, logs)
            time.sleep(_LOOK)
    except KeyboardInterrupt:
        # A terminal tells every process, and the first one says so. A signal to this one alone means all of them, too.
        if _ended(processes[0]) == 130:
            return 130
        raise
    finally:
        _stop(processes)
        os.close(held)
        os.close(lifeline)


def _failed(processes: Sequence[subprocess.Popen[bytes]], logs: Sequence[Path]) -> int:
    """Return the code that a command with a failed process ends with; words that nobody saw are repeated."""
    # The first process may be about to say the same as another, which would be enough.
    first = _ended(processes[0])
    if first not in (None, OtherProcessEnded.exit_code):
        return _as_of_a_shell(first or 0)
    culprits = [rank for rank, process in enumerate(processes) if rank and _ended(process) not in (None, 0)]
    _stop(processes)
    if not culprits:
        return _as_of_a_shell(first or 0)
    code, text = processes[culprits[0]].returncode, logs[culprits[0]].read_text(errors="replace").strip()
    if code == OtherProcessEnded.exit_code or not text:
        click.echo(text or f"fairbench: process {culprits[0]} of {len(processes)} was ended ({code}).", err=True)
    else:
        click.echo(text.splitlines()[-1], err=True)
    return _as_of_a_shell(code)


def _as_of_a_shell(code: int) -> int:
    """Return an exit code where Python gives a negative one for a signal."""
    return code if code >= 0 else 128 - code


def _ended(process: subprocess.Popen[bytes]) -> int | None:
    """Return the exit code of a process that is about to end; None where it goes on."""
    try:
        return process.wait(_PATIENCE)
    except subprocess.TimeoutExpired:
        return None


def _stop(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    for process in processes:
        if process.poll() is None:
            process.terminate()
    for process in processes:
        process.wait()


def _end_with_the_watcher() -> None:
    """End this process as soon as the one that watches is gone."""
    lifeline = int(os.environ[LIFELINE])

    def wait() -> None:
        os.read(lifeline, 1)
        os._exit(143)

    threading.Thread(target=wait, daemon=True).start()
