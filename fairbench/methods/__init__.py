"""Training methods and class rules, by the names that the command line knows."""

from __future__ import annotations

from fairbench.errors import unknown
from fairbench.methods.absld import ABSLD, ABSLDRule
from fairbench.methods.base import Method
from fairbench.methods.class_rule import ClassRule
from fairbench.methods.natural import Natural
from fairbench.methods.rslad import RSLAD
from fairbench.methods.sat import SAT
from fairbench.methods.trades import TRADES

__all__ = ["CLASS_RULES", "METHODS", "find_class_rule", "find_method"]

METHODS: dict[str, type[Method]] = {
    "natural": Natural,
    "sat": SAT,
    "trades": TRADES,
    "rslad": RSLAD,
    "absld": ABSLD,
}

CLASS_RULES: dict[str, type[ClassRule]] = {
    "absld": ABSLDRule,
}


def find_method(name: str) -> type[Method]:
    """Return a method by name.

    Raises:
        BadInput: no such method, with the nearest name.
    """
    if name not in METHODS:
        raise unknown("method", name, METHODS)
    return METHODS[name]


def find_class_rule(name: str) -> type[ClassRule]:
    """Return a class rule by name.

    Raises:
        BadInput: no such rule, with the nearest name.
    """
    if name not in CLASS_RULES:
        raise unknown("class rule", name, CLASS_RULES)
    return CLASS_RULES[name]
