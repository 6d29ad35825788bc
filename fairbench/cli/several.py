"""`--processes N`: one command as several processes of this machine, which share its work as under torchrun.

The process that a person started only watches the others: the first of them shows its progress and result as if it were
alone; where one fails the others are stopped, and its sentence is the answer. They end when the one that watches ends,
however it ends.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

import click

from fairbench.errors import BadInput, OtherProcessEnded
from fairbench.own_processes import LIFELINE, RENDEZVOUS

_LOOK, _PATIENCE = 0.05, 5.0  # seconds
#: Processes that are allowed on any machine; else one per core.
_FEW = 4
_BUG = 70  # its words are a traceback


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
    if count > max(cores(), _FEW):
        raise BadInput(f"--processes must be at most the number of cores, {cores()}, but is {count}.")
    arguments = click.get_current_context().find_object(list) or sys.argv[1:]
    each = threads or int(os.environ.get("OMP_NUM_THREADS") or max(cores() // count, 1))
    with tempfile.TemporaryDirectory() as place:
        raise click.exceptions.Exit(_watch(arguments, count, each, Path(place)))


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
    # As the installed program, whose folder is not searched for modules: a random.py that lies there must not matter.
    searched = sys.path[0] in ("", str(Path.cwd()))
    program = [sys.executable, *([] if searched else ["-P"]), "-m", "fairbench"]
    try:
        for rank in range(count):
            with logs[rank].open("wb") as log:
                processes.append(
                    subprocess.Popen(
                        [*program, *arguments], pass_fds=(lifeline,),
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
        _wait_for(processes[:1])
        if processes[0].returncode == 130:
            return 130
        raise
    finally:
        _stop(processes)
        os.close(held)
        os.close(lifeline)


def _failed(processes: Sequence[subprocess.Popen[bytes]], logs: Sequence[Path]) -> int:
    """Return the code that a command with a failed process ends with; words that nobody saw are repeated."""
    # The first process may be about to say the same as another, which would be enough.
    _wait_for(processes)
    ended = {rank: process.returncode for rank, process in enumerate(processes) if process.returncode not in (None, 0)}
    _stop(processes)
    # Whoever was only left alone by another is no culprit.
    culprits = {rank: code for rank, code in ended.items() if code != OtherProcessEnded.exit_code} or ended
    rank, code = next(iter(culprits.items()))
    if code < 0:
        click.echo(
            f"fairbench: process {rank + 1} of {len(processes)} was ended from outside ({signal.Signals(-code).name}); "
            "memory may have run out. The same command goes on, also with fewer processes.", err=True,
        )  # fmt: skip
    elif rank:
        text = logs[rank].read_text(errors="replace").strip()
        click.echo(text if code == _BUG or not text else text.splitlines()[-1], err=True)
    return _as_of_a_shell(code)


def _as_of_a_shell(code: int) -> int:
    """Return an exit code where Python gives a negative one for a signal."""
    return code if code >= 0 else 128 - code


def _wait_for(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """Give processes that are about to end a moment for it, all together."""
    deadline = time.monotonic() + _PATIENCE
    while any(process.poll() is None for process in processes) and time.monotonic() < deadline:
        time.sleep(_LOOK)


def _stop(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    for process in processes:
        if process.poll() is None:
            process.terminate()
    for process in processes:
        process.wait()


def _end_with_the_watcher() -> None:
    """End this process as soon as the one that watches is gone."""
    lifeline = int(os.environ[LIFELINE])
    place = Path(url2pathname(urlsplit(os.environ[RENDEZVOUS]).path)).parent

    def wait() -> None:
        os.read(lifeline, 1)
        shutil.rmtree(place, ignore_errors=True)  # nobody else is left to do it
        os._exit(143)

    threading.Thread(target=wait, daemon=True).start()
