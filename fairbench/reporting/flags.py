"""The flags of a run's record, and which of them are raised: one judgement for reports, gate, export and import."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

#: The severity of a refusal that a person overrode with --accept, and of noise that was asked for.
ACCEPTED = "accepted"


def all_flags(record: Mapping[str, Any]) -> tuple[Mapping[str, Any], ...]:
    """Return the flags {name, severity, class, evidence, advice} of a run.json, which a person may have edited."""
    found = record.get("flags")
    return tuple(flag for flag in found if isinstance(flag, Mapping)) if isinstance(found, list | tuple) else ()


def raised_flags(record: Mapping[str, Any]) -> tuple[Mapping[str, Any], ...]:
    """Return the flags that say that a number may be too good: all but those of accepted checks."""
    return tuple(flag for flag in all_flags(record) if flag.get("severity") != ACCEPTED)
