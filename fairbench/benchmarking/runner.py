"""Run jobs: one process per device, or several on the CPU with one thread each; a failing job stops no other.

Several machines, or several calls on one, may work in one folder on a file system with locks: each job is locked while
its process lives, and who finds it locked takes another. A killed call leaves no lock behind.
"""

from __future__ import annotations

import fcntl
import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import IO

from fairbench.benchmarking.plan import Job
from fairbench.progress import Progress

_LOOK_AGAIN = 3.0  # seconds between looks at jobs that another call works on


@dataclass(frozen=True)
class Ending:
    """How a job ended: exit code 0 is finished; `reason` is what its process said last."""

    code: int
    reason: str = ""


@dataclass
class Runner:
    """Runs jobs until each has ended.

    Args:
        out: the suite's folder; logs and locks lie in it.
        is_done: whether a job's results are complete, whoever made them.
        devices: one per process that may run at a time: "cpu", "cpu", or "cuda:0", "cuda:1".
        progress: what people see.
        command: starts fairbench; tests put another program in its place.
    """

    out: Path
    is_done: Callable[[str], bool]
    devices: Sequence[str]
    progress: Progress
    command: tuple[str, ...] = (sys.executable, "-m", "fairbench")
    ended: dict[str, Ending] = field(default_factory=dict)
    _running: dict[str, subprocess.Popen[bytes] | None] = field(default_factory=dict)
    _busy: dict[str, float] = field(default_factory=dict)
    _change: threading.Condition = field(default_factory=threading.Condition)
    _stopping: bool = False
    _error: BaseException | None = None

    def run(self, jobs: Sequence[Job]) -> dict[str, Ending]:
        """Run all jobs and return how each ended.

        Raises:
            KeyboardInterrupt: Ctrl-C or SIGTERM; every process has been told and has saved its state.
        """
        bar = self.progress.start("benchmark", len(jobs))
        threads = [threading.Thread(target=self._guarded, args=(jobs, device, bar)) for device in self.devices]
        before = signal.getsignal(signal.SIGTERM)
        in_main = threading.current_thread() is threading.main_thread()
        if in_main:
            signal.signal(signal.SIGTERM, _interrupt)
        try:
            for thread in threads:
                thread.start()
            for thread in threads:
                while thread.is_alive():
                    thread.join(0.2)
        except KeyboardInterrupt:
            self._stop()
            for thread in threads:
                thread.join()
            raise
        finally:
            if in_main:
                signal.signal(signal.SIGTERM, before)
        if self._error is not None:
            raise self._error
        self.progress.finish(bar)
        return self.ended

    def _stop(self) -> None:
        with self._change:
            self._stopping = True
            for process in self._running.values():
                if process is not None and process.poll() is None:
                    process.send_signal(signal.SIGINT)
            self._change.notify_all()

    def _guarded(self, jobs: Sequence[Job], device: str, bar: int) -> None:
        """Work; an error of this program (a full disk) ends the benchmark, after the processes that run."""
        try:
            self._work(jobs, device, bar)
        except BaseException as error:  # raised again by `run`, in the main thread
            self._error = error
            self._stop()

    def _work(self, jobs: Sequence[Job], device: str, bar: int) -> None:
        while True:
            job = self._next(jobs, bar)
            if job is None:
                return
            with (self.out / "locks" / f"{job.key}.lock").open("w") as lock:
                ending = self._locked(job, device, lock)
            with self._change:
                self._running.pop(job.key)
                if ending is None:
                    self._busy[job.key] = time.monotonic()
                elif not self._stopping:
                    self._end(job, ending, bar)
                self._change.notify_all()

    def _next(self, jobs: Sequence[Job], bar: int) -> Job | None:
        """Wait for a job that can start, and take it; None where none is left."""
        with self._change:
            (self.out / "locks").mkdir(parents=True, exist_ok=True)
            while not self._stopping:
                todo = [job for job in jobs if job.key not in self.ended]
                if not todo:
                    return None
                for job in todo:
                    failed = [need for need in job.needs if self.ended.get(need, Ending(0)).code != 0]
                    if failed:
                        said = self.ended[failed[0]]
                        self._end(job, Ending(said.code, f"{failed[0]} failed: {said.reason}"), bar)
                        break
                    free = job.key not in self._running and all(need in self.ended for need in job.needs)
                    if free and time.monotonic() - self._busy.get(job.key, -_LOOK_AGAIN) >= _LOOK_AGAIN:
                        self._running[job.key] = None
                        return job
                else:
                    self._change.wait(1.0)
            return None

    def _end(self, job: Job, ending: Ending, bar: int) -> None:
        self.ended[job.key] = ending
        self.progress.advance(bar)
        if ending.code:
            self.progress.say(f"{job.key} failed: {ending.reason}")

    def _locked(self, job: Job, device: str, lock: IO[str]) -> Ending | None:
        """Run a job unless another call does; None where one does."""
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return None
        if self.is_done(job.key):
            return Ending(0)
        begun = time.monotonic()
        log = self.out / "logs" / f"{job.key}.txt"
        log.parent.mkdir(parents=True, exist_ok=True)
        for arguments in job.commands:
            code = self._process(job, [*self.command, *arguments, "--device", device], log, lock)
            if code:
                return Ending(code if code > 0 else 70, _last_words(log, code))
        minutes = (time.monotonic() - begun) / 60
        self.progress.say(f"{job.key} is finished ({minutes:.1f} min on {device})")
        return Ending(0)

    def _process(self, job: Job, command: Sequence[str], log: Path, lock: IO[str]) -> int:
        environment = os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        with log.open("ab") as sink:
            sink.write(f"$ {shlex.join(command)}\n".encode())
            sink.flush()
            with self._change:
                if self._stopping:
                    return 130
                # Its own session: Ctrl-C reaches it once, from `_stop`. It keeps the lock should this one be killed.
                process = subprocess.Popen(
                    command, env=environment, stdin=subprocess.DEVNULL, stdout=sink, stderr=sink,
                    start_new_session=True, pass_fds=(lock.fileno(),),
                )  # fmt: skip
                self._running[job.key] = process
        return process.wait()


def _last_words(log: Path, code: int) -> str:
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    if code < 0:
        return f"its process was ended by signal {-code}"
    if code == 70 and len(lines) > 1:
        return f"internal error, {lines[-2]}"[:400]  # the last line of the traceback
    said = [line for line in lines if line.startswith("fairbench: ")]
    return (said or lines)[-1].removeprefix("fairbench: ")[:400]


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def worst_code(endings: Sequence[Ending]) -> int:
    """Return 0 where every job is finished, else the highest exit code of those that are not."""
    return max((ending.code for ending in endings), default=0)
