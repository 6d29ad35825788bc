"""The threat model of a run: a norm and a radius in pixel units of [0, 1]."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal, get_args

from fairbench.errors import BadInput, unknown

Norm = Literal["Linf", "L2", "L1"]
NORMS: tuple[Norm, ...] = get_args(Norm)

_NUMBER = re.compile(r"(\d{1,12}(\.\d{0,30})?|\.\d{1,30})(e[+-]?\d{1,3})?", re.ASCII)
_FRACTION = re.compile(r"\d{1,12}(\.\d{0,18})?/\d{1,12}(\.\d{0,18})?", re.ASCII)


def parse_number(text: str, *, what: str, example: str = "0.03 or 8/255") -> float:
    """Read a decimal ("0.03", "1e-3") or a fraction ("8/255") in ASCII digits: at least 0, since it has no sign.

    `example` is what the refusal says would be right.

    Raises:
        BadInput: anything else (a sign, nan, inf, hexadecimal, other scripts' digits, division by zero).
    """
    text = text.strip()
    try:
        if _NUMBER.fullmatch(text) and math.isfinite(float(text)):
            return float(text)
        if _FRACTION.fullmatch(text):
            top, bottom = text.split("/")
            return float(Fraction(top) / Fraction(bottom))
    except (ValueError, ZeroDivisionError, OverflowError):
        pass
    raise BadInput(f"{what} must be a decimal or a fraction of at least 0, such as {example}, but is {text[:40]!r}.")


def with_rounding(eps: float, slack: float = 0.0) -> float:
    """Return the largest distance that counts as within the radius: float32 may round by 1e-6 + 1e-5 eps."""
    return eps * (1 + 1e-5 + slack) + 1e-6


@dataclass(frozen=True)
class Threat:
    """A norm and a radius; `eps_text` is how the person wrote the radius ("8/255")."""

    norm: Norm
    eps: float
    eps_text: str

    @classmethod
    def parse(cls, norm: str, eps: str | float) -> Threat:
        """Build a threat from the command line's words; `eps` is in pixel units of [0, 1].

        Raises:
            BadInput: an unknown norm, a radius that is no number, or an Linf radius above 1.
        """
        names = {name.lower(): name for name in NORMS}
        if norm.lower() not in names:
            raise unknown("norm", norm, NORMS)
        known: Norm = names[norm.lower()]
        text = eps.strip() if isinstance(eps, str) else repr(float(eps))
        value = parse_number(text, what="eps")
        if known == "Linf" and value > 1:
            guess = f" Did you mean {text[:40]}/255?" if "/" not in text and value <= 255 else ""
            raise BadInput(f"eps must lie in [0, 1] for Linf, since pixels do, but is {text[:40]}.{guess}")
        return cls(known, value, text)

    def __str__(self) -> str:
        return f"{self.norm} {self.eps_text}"
