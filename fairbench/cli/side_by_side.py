"""Commands of fairbench run side by side: as many at a time as there are cores, each with one thread.

Small networks gain nothing from a second thread, so several commands at a time are what several cores are for.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from fairbench.errors import FairbenchError

_LOOK, _SILENT = 0.1, 10.0  # seconds between two looks, and without a word


@dataclass(frozen=True)
class Step:
    """One command.

    Attributes:
        name: what it is called on the screen.
        arguments: behind `fairbench`.
        seconds: its share of the time: CPU seconds of one thread, measured once. Only their proportions are used.
        product: the file it leaves when it is finished.
        after: products of other steps that it needs.
        always: whether it is run although its product is there.
    """

    name: str
    arguments: list[str]
    seconds: float
    product: Path
    after: tuple[Path, ...] = ()
    always: bool = False


class Running(Protocol):
    """A command that was started."""

    def poll(self) -> int | None:
        """Return the exit code, None while it runs."""

    def said(self) -> str:
        """Return the last line that it wrote to stderr."""

    def stop(self) -> None:
        """End it and wait until it is gone."""


class Command:
    """`fairbench ARGUMENTS` as a process of its own with one thread; its stderr goes to the file `log`."""

    def __init__(self, arguments: Sequence[str], log: Path) -> None:
        self._log = log
        with log.open("wb") as file:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "fairbench", *arguments],
                stdout=subprocess.DEVNULL, stderr=file, env=os.environ | {"OMP_NUM_THREADS": "1"},
            )  # fmt: skip

    def poll(self) -> int | None:
        """Return the exit code, None while it runs."""
        return self._process.poll()

    def said(self) -> str:
        """Return the last line that it wrote to stderr."""
        lines = self._log.read_text(errors="replace").splitlines()
        return lines[-1].strip() if lines else ""

    def stop(self) -> None:
        """End it and wait until it is gone."""
        self._process.terminate()
        self._process.wait()


class StepFailed(FairbenchError):
    """A command failed; the message is its own sentence and the exit code, too."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.exit_code = code


def run_side_by_side(
    todo: Sequence[Step],
    launch: Callable[[Step], Running],
    *,
    workers: int,
    now: Callable[[], float] = time.monotonic,
    wait: Callable[[float], None] = time.sleep,
) -> None:
    """Run the steps, each as soon as what it needs is there and a worker is free, those first that most waits for.

    Says on stderr what begins, what is done, and how much time is left at the speed of what has been done.

    Raises:
        StepFailed: a command ended with another exit code than 0; the others are stopped.
    """
    left = [step for step in todo if step.always or not step.product.exists()]
    reused = len(todo) - len(left)
    if reused:
        _say(f"{reused} of {len(todo)} steps were finished before")
    clock, longest = _Clock([step.seconds for step in left], workers, now), _longest_ways(todo)
    running: dict[int, tuple[Step, Running]] = {}
    spoken = now()
    try:
        while left or running:
            missing = {step.product for step in left} | {step.product for step, _ in running.values()}
            ready = [step for step in left if not missing & set(step.after)]
            for step in sorted(ready, key=lambda step: -longest[step.product])[: workers - len(running)]:
                left.remove(step)
                number = todo.index(step) + 1
                running[number] = step, launch(step)
                clock.begin(number, step.seconds)
                _say(f"[{number}/{len(todo)}] {clock.left()}: fairbench {shlex.join(step.arguments)}")
                spoken = now()
            wait(_LOOK)
            for number, (step, command) in list(running.items()):
                code = command.poll()
                if code is None:
                    continue
                del running[number]
                if code != 0:
                    raise StepFailed(command.said().removeprefix("fairbench: ") or f"{step.name} failed.", code)
                clock.end(number)
            if running and now() - spoken >= _SILENT:
                doing = "; ".join(
                    f"{step.name}: {command.said()[:50] or 'begins'}" for step, command in running.values()
                )
                _say(f"{clock.left()} ({doing})")
                spoken = now()
    finally:
        for _, command in running.values():
            command.stop()


def _longest_ways(todo: Sequence[Step]) -> dict[Path, float]:
    """Return the seconds from the beginning of each step to the end of the last one that waits for it, by product."""
    longest: dict[Path, float] = {}
    for step in reversed(todo):  # whoever waits stands behind what it waits for
        waiting = [longest[other.product] for other in todo if step.product in other.after]
        longest[step.product] = step.seconds + max(waiting, default=0.0)
    return longest


class _Clock:
    """The time left: work that is waiting and running, at the speed of the steps that are done."""

    def __init__(self, seconds: Sequence[float], workers: int, now: Callable[[], float]) -> None:
        self._waiting, self._workers, self._now = sum(seconds), workers, now
        self._running: dict[int, tuple[float, float]] = {}
        self._worked = self._took = 0.0

    def begin(self, number: int, seconds: float) -> None:
        self._waiting -= seconds
        self._running[number] = seconds, self._now()

    def end(self, number: int) -> None:
        seconds, begun = self._running.pop(number)
        self._worked, self._took = self._worked + seconds, self._took + self._now() - begun

    def left(self) -> str:
        if not self._worked:
            return "estimating the time left"
        slowness = self._took / self._worked
        # A step that takes longer than it should is taken to be nearly done.
        rest = [max(seconds * slowness - (self._now() - begun), 0) for seconds, begun in self._running.values()]
        spread = (self._waiting * slowness + sum(rest)) / self._workers
        minutes, seconds = divmod(round(max(spread, *rest, 1.0)), 60)
        return f"about {minutes}:{seconds:02d} left"


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
