"""Ctrl-C between two steps, so that nothing of an epoch is lost."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any, Self


class Interruption:
    """As a context manager, turns the first Ctrl-C while `stepping` into `requested`, which the loop looks at.

    At other times (validation), and the second time, Ctrl-C interrupts at once as usual. In a thread other than the
    main one, where Python allows no signal handler, it does nothing.
    """

    def __init__(self) -> None:
        self.requested = False
        self.stepping = False
        self._before: Any = None

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGINT, self._handle)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.requested or not self.stepping:
            raise KeyboardInterrupt
        self.requested = True
