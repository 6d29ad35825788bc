"""Which names of an outcome table are attacks of their own, and in which order a reader meets them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from fairbench.outcomes import NATURAL


def top_level(names: Iterable[str]) -> tuple[str, ...]:
    """Return the names that are not a cascade's parts: "aa/apgd-ce" is a part where "aa" is in the table too."""
    known = list(names)
    return tuple(name for name in known if not any(name.startswith(f"{other}/") for other in known))


def parts_of(attack: str, names: Iterable[str]) -> tuple[str, ...]:
    """Return the cumulative parts of a cascade ("aa/apgd-ce", ...) in the order of `names`."""
    return tuple(name for name in names if name.startswith(f"{attack}/"))


def in_order(names: Sequence[str], resolved: Mapping[str, object]) -> tuple[str, ...]:
    """Return natural first, then the attacks as the run's record lists them (as asked for), then the rest."""
    asked = {name: place for place, name in enumerate(resolved)}
    return tuple(sorted(names, key=lambda name: (name != NATURAL, asked.get(name, len(asked)))))
