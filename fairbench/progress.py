"""Progress for people: bars with remaining time on stderr; silent where nobody looks."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol, Self


class Progress(Protocol):
    """What long work reports to. `done` counts in the same unit as `total`."""

    def start(self, name: str, total: float, done: float = 0) -> int:
        """Begin a bar and return its number; `done` is what an earlier call finished already."""

    def advance(self, bar: int, amount: float = 1) -> None:
        """Move a bar forward."""

    def glance(self, bar: int, amount: float) -> None:
        """Show that `amount` beyond what was advanced is under way."""

    def finish(self, bar: int) -> None:
        """Close a bar."""

    def whole(self, share: float, *, anew: bool = False) -> None:
        """Take note of the share of all the work that is done, over all bars, 0 to 1.

        `anew`: what was done before was not done now, so the speed is judged from here on.
        """

    def say(self, text: str) -> None:
        """Print one line above the bars."""


class Silent:
    """Progress that shows nothing."""

    def start(self, name: str, total: float, done: float = 0) -> int:
        """Do nothing."""
        return 0

    def advance(self, bar: int, amount: float = 1) -> None:
        """Do nothing."""

    def glance(self, bar: int, amount: float) -> None:
        """Do nothing."""

    def finish(self, bar: int) -> None:
        """Do nothing."""

    def whole(self, share: float, *, anew: bool = False) -> None:
        """Do nothing."""

    def say(self, text: str) -> None:
        """Do nothing."""


@dataclass
class _Count:
    """How far a bar is; `told` is when and what was last printed of it where no terminal draws it."""

    name: str
    total: float
    done: float
    told: tuple[float, float]


class Bars:
    """Rich progress bars on stderr, as a context manager.

    Where stderr is no terminal, plain lines "pgd20: 400 of 900" at the start, at the end, and between them at most
    every ten seconds. Where it is known how much of all the work is done, with the time left for all of it.
    """

    quiet_seconds = 10.0
    judging_seconds = 3.0

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

        self._console = Console(file=sys.stderr, highlight=False, markup=False)
        self._live = self._console.is_terminal
        self._counts: dict[int, _Count] = {}
        self._first: tuple[float, float] | None = None
        self._left = ""
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f}%"),
            TimeElapsedColumn(),
            TextColumn("elapsed,"),
            TimeRemainingColumn(),
            TextColumn("left{task.fields[left]}"),
            console=self._console,
            disable=not self._live,
        )

    def start(self, name: str, total: float, done: float = 0) -> int:
        """Begin a bar."""
        task = self._progress.add_task(name, total=total, left="")
        self._progress.update(task, completed=done)
        self._counts[int(task)] = _Count(name, total, done, (-self.quiet_seconds, -1))
        self._tell(int(task), always=True)
        return int(task)

    def advance(self, bar: int, amount: float = 1) -> None:
        """Move a bar forward."""
        count = self._counts[bar]
        count.done += amount
        self._progress.update(self._task(bar), completed=count.done)
        self._tell(bar)

    def glance(self, bar: int, amount: float) -> None:
        """Show what is under way."""
        self._progress.update(self._task(bar), completed=self._counts[bar].done + amount)
        self._tell(bar, amount)

    def finish(self, bar: int) -> None:
        """Close a bar."""
        self._progress.remove_task(self._task(bar))
        self._tell(bar, always=True)
        del self._counts[bar]

    def whole(self, share: float, *, anew: bool = False) -> None:
        """Tell the time left for everything, after a few seconds to judge by."""
        now = time.monotonic()
        if anew or self._first is None:
            self._first, self._left = (now, share), ""
        begun, before = self._first
        if share >= 1 - 1e-9:
            self._first, self._left = None, ""
        if share <= before or share >= 1 - 1e-9 or now - begun < self.judging_seconds:
            return
        minutes, seconds = divmod(round((now - begun) * (1 - share) / (share - before)), 60)
        hours, minutes = divmod(minutes, 60)
        self._left = f", about {f'{hours}:{minutes:02d}:' if hours else f'{minutes}:'}{seconds:02d}"
        for bar in self._counts:
            self._progress.update(self._task(bar), left=f"{self._left} for everything")

    def say(self, text: str) -> None:
        """Print one line above the bars."""
        self._console.print(text, soft_wrap=True)

    def _task(self, bar: int) -> Any:
        return bar

    def _tell(self, bar: int, under_way: float = 0, *, always: bool = False) -> None:
        """Print how far a bar is where none is drawn, unless that was done a moment ago; never the same count twice."""
        count, now = self._counts[bar], time.monotonic()
        done = count.done + under_way
        if not self._live and done != count.told[1] and (always or now - count.told[0] >= self.quiet_seconds):
            left = f"{self._left} left" if self._left else ""
            self.say(f"{count.name}: {done:,.0f} of {count.total:,.0f}{left}")
            count.told = (now, done)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()
