"""Hyper-parameters: annotated class attributes with a default, set by keyword or by `-p name=value`.

    class TRADES(Method):
        beta: float = 6.0            # TRADES(10, eps=0.03, beta=1); -p beta=1

`ClassVar`s, names that start with "_", and annotations without a value (buffers) are not hyper-parameters.
"""

from __future__ import annotations

import inspect
import math
import types
from collections.abc import Mapping
from fractions import Fraction
from typing import Any, Literal, Union, get_args, get_origin

from fairbench.errors import BadInput

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
