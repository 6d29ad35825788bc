"""Flags of an evaluation as lines for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fairbench.reporting.flags import ACCEPTED, all_flags
from fairbench.reporting.table_formats import plain


def flag_lines(record: Mapping[str, Any], class_names: Sequence[str]) -> list[str]:
    """Return one line for each flag of a record: whether it was accepted, what was seen, and what to do."""
    lines = []
    for flag in all_flags(record):
        said = "accepted" if flag["severity"] == ACCEPTED else "flag"
        of = f" (class {plain(class_names[flag['class']])})" if flag["class"] is not None else ""
        lines.append(f"{said} {flag['name']}{of}: {plain(str(flag['evidence']))}; {plain(str(flag['advice']))}")
    return lines
