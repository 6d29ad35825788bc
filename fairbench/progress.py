"""Progress for people: bars with remaining time on stderr; silent where nobody looks."""

from __future__ import annotations

import sys
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

    def say(self, text: str) -> None:
        """Do nothing."""


class Bars:
    """Rich progress bars on stderr, as a context manager; plain lines where stderr is no terminal."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

        self._console = Console(file=sys.stderr, highlight=False, markup=False)
        self._live = self._console.is_terminal
        self._names: dict[int, str] = {}
        self._done: dict[int, float] = {}
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f}%"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=self._console,
            disable=not self._live,
        )

    def start(self, name: str, total: float, done: float = 0) -> int:
        """Begin a bar."""
        task = self._progress.add_task(name, total=total)
        self._progress.update(task, completed=done)
        self._names[int(task)] = name
        self._done[int(task)] = done
        if not self._live:
            self._console.print(f"{name} ...", soft_wrap=True)
        return int(task)

    def advance(self, bar: int, amount: float = 1) -> None:
        """Move a bar forward."""
        self._done[bar] += amount
        self._progress.update(self._task(bar), completed=self._done[bar])

    def glance(self, bar: int, amount: float) -> None:
        """Show what is under way."""
        self._progress.update(self._task(bar), completed=self._done[bar] + amount)

    def finish(self, bar: int) -> None:
        """Close a bar."""
        self._progress.remove_task(self._task(bar))
        self._names.pop(bar, None)
        self._done.pop(bar, None)

    def say(self, text: str) -> None:
        """Print one line above the bars."""
        self._console.print(text, soft_wrap=True)

    def _task(self, bar: int) -> Any:
        return bar

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()
