"""The errors a person can cause, and the exit code of each.

    FairbenchError
    ├── BadInput (2)          what was wrong, what was received, what would be right: one sentence
    │   ├── Refused           a check of the evaluator said no; `check` names what `--accept` would override
    │   └── NotComparable     two runs that do not answer the same question
    ├── WriteFailed (74)      a write that failed after the work had begun (disk full)
    └── OtherProcessEnded (75) one of several processes failed; its own sentence and code say why

Anything else that escapes is a bug in fairbench: exit code 70, with a traceback.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class FairbenchError(Exception):
    """Base of all errors whose message is written for a person."""

    exit_code = 70


class BadInput(FairbenchError, ValueError):
    """Something the caller gave is wrong; the message says what, what was received, and what would be right."""

    exit_code = 2


class Refused(BadInput):
    """An evaluation that would print a wrong number.

    `check` is the name that `--accept` takes to override the refusal; `overridable` says whether it may.
    """

    def __init__(self, check: str, message: str, *, overridable: bool = True) -> None:
        hint = f" If this is meant, add --accept {check}." if overridable else ""
        super().__init__(message + hint)
        self.check = check
        self.overridable = overridable


class NotComparable(BadInput):
    """Two runs whose samples, threat, attacks or protocol differ."""


class WriteFailed(FairbenchError, OSError):
    """A file could not be written although the place had been checked before (disk full, quota)."""

    exit_code = 74


class OtherProcessEnded(FairbenchError):
    """One of the processes that share the work ended early; its own sentence says why."""

    exit_code = 75

    def __init__(self) -> None:
        super().__init__("another process of this command ended early, and its own words say why.")


def unknown(kind: str, name: str, known: Iterable[str]) -> BadInput:
    """Return the error for a name that is in no registry, with the nearest known name."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1)
    guess = f" Did you mean {near[0]!r}?" if near else ""
    listed = ", ".join(names[:20]) + (f", and {len(names) - 20} more" if len(names) > 20 else "")
    return BadInput(f"unknown {kind} {name[:60]!r}.{guess} Known: {listed}.")
