"""An attack's memory with somebody watching: what it offers also moves the bar within a block."""

from __future__ import annotations

import time
from collections.abc import Callable

from fairbench.attacks.attack_memory import AttackMemory, Saved

_SECONDS = 0.2


class Watched:
    """Passes everything on to `memory`, and tells `show` now and then the share that is done.

    `show` gets (share, whether the share before it was recalled and not done now).
    """

    def __init__(self, memory: AttackMemory | None, show: Callable[[float, bool], None]) -> None:
        self._memory, self._show = memory, show
        self._shown, self._recalled = time.monotonic(), False

    def recall(self) -> Saved | None:
        """Return the state to continue from; None: begin."""
        saved = self._memory.recall() if self._memory is not None else None
        self._recalled = saved is not None
        return saved

    def offer(self, state: Callable[[], Saved] | None, done: float) -> None:
        """Pass the offer on, and now and then show how far the attack is."""
        if self._memory is not None:
            self._memory.offer(state, done)
        now = time.monotonic()
        if self._recalled or now - self._shown >= _SECONDS:
            self._show(done, self._recalled)
            self._shown, self._recalled = now, False
