"""How a class name is written where a number stands beside it."""

from __future__ import annotations


def beside_number(name: str) -> str:
    """Return a class name that is not read as part of the number beside it: “8” and “3D” in quotes, "dog" as it is."""
    return f"“{name}”" if name[:1].isdigit() or name[-1:].isdigit() else name
