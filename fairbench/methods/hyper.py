"""Hyper-parameters: annotated class attributes with a default, set by keyword or by `-p name=value`.

    class TRADES(Method):
        beta: float = 6.0            # TRADES(10, eps=0.03, beta=1); -p beta=1

`ClassVar`s, names that start with "_", and annotations without a value (buffers) are not hyper-parameters.
"""

from __future__ import annotations

import inspect
import math
import types
from collections.abc import Collection, Mapping
from fractions import Fraction
from typing import Any, Literal, Union, get_args, get_origin

from fairbench.errors import BadInput, unknown

_TRUE = {"true", "yes", "on", "1"}
_FALSE = {"false", "no", "off", "0"}


def hyper_types(owner: type, root: type) -> dict[str, Any]:
    """Return {name: annotation} of the hyper-parameters that `owner` and its bases up to `root` declare."""
    found: dict[str, Any] = {}
    for cls in reversed(owner.__mro__):
        if not issubclass(cls, root):
            continue
        for name, annotation in inspect.get_annotations(cls, eval_str=True).items():
            constant = str(annotation).startswith("typing.ClassVar")
            if name in vars(cls) and not constant and not name.startswith("_"):
                found[name] = annotation
    return found


def convert(what: str, annotation: Any, value: object) -> Any:
    """Return `value`, or the text of a `-p` option, as the annotated type.

    Understands bool, int, float (also "8/255"), str, Literal[...] and X | None ("none").

    Raises:
        BadInput: it is not of that type, is not finite, or is negative (no published method has such a parameter).
    """
    if get_origin(annotation) in (Union, types.UnionType):
        if value is None or (isinstance(value, str) and value.lower() == "none"):
            return None
        return convert(what, next(a for a in get_args(annotation) if a is not type(None)), value)
    if get_origin(annotation) is Literal:
        if value in get_args(annotation):
            return value
        raise BadInput(f"{what} must be one of {', '.join(map(str, get_args(annotation)))}, but is {_shown(value)}.")
    result = _READERS[annotation](value)
    if result is None:
        raise BadInput(f"{what} must be {_WORDS[annotation]}, but is {_shown(value)}.")
    return result


def set_hyper(owner: object, root: type, given: Mapping[str, object], *, prefix: str) -> None:
    """Set the given hyper-parameters on `owner`, converted; `prefix` is its name in messages."""
    declared = hyper_types(type(owner), root)
    for name, value in given.items():
        setattr(owner, name, convert(f"hyper-parameter {name!r} of {prefix}", declared[name], value))


def get_hyper(owner: object, root: type) -> dict[str, Any]:
    """Return every hyper-parameter of `owner` with its value, in order of declaration."""
    return {name: getattr(owner, name) for name in hyper_types(type(owner), root)}


def split_hyper(
    given: Mapping[str, object], mine: Collection[str], theirs: Mapping[str, Collection[str]], *, what: str
) -> tuple[dict[str, object], dict[str, dict[str, object]]]:
    """Sort hyper-parameters into a method's own and those of each of its class rules.

    Args:
        given: by name, or as "rule.name".
        mine: names that the method has; they go before those of rules.
        theirs: {rule: names that it has}.
        what: the method's name in messages.

    Raises:
        BadInput: nobody has a name, or several rules have it.
    """
    own: dict[str, object] = {}
    of_rule: dict[str, dict[str, object]] = {name: {} for name in theirs}
    for key, value in given.items():
        rule, dot, name = key.rpartition(".")
        owners = [rule] if dot else [r for r, names in theirs.items() if name in names]
        if not dot and name in mine:
            own[name] = value
        elif len(owners) == 1 and name in theirs.get(owners[0], ()):
            of_rule[owners[0]][name] = value
        elif len(owners) > 1:
            choices = " or ".join(f"{r}.{name}" for r in owners)
            raise BadInput(f"hyper-parameter {name!r} belongs to several class rules; write {choices}.")
        else:
            dotted = {f"{r}.{n}" for r, names in theirs.items() for n in names}
            plain = {n for names in theirs.values() for n in names}
            raise unknown(f"hyper-parameter of {what}", key, {*mine, *dotted, *plain})
    return own, of_rule


def _shown(value: object) -> str:
    return repr(value)[:60]


def _bool(value: object) -> bool | None:
    if isinstance(value, str):
        text = value.strip().lower()
        return True if text in _TRUE else False if text in _FALSE else None
    return value if isinstance(value, bool) else None


def _int(value: object) -> int | None:
    if isinstance(value, str):
        try:
            value = int(value)
        except ValueError:
            return None
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _float(value: object) -> float | None:
    if isinstance(value, str):
        try:
            value = float(Fraction(value)) if "/" in value else float(value)
        except (ValueError, ZeroDivisionError, OverflowError):
            return None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return float(value) if math.isfinite(value) and value >= 0 else None


def _str(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


_READERS: dict[Any, Any] = {bool: _bool, int: _int, float: _float, str: _str}
_WORDS: dict[Any, str] = {
    bool: "true or false",
    int: "a whole number, 0 or more",
    float: "a number, 0 or more",
    str: "a word",
}
