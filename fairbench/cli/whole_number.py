"""Whole numbers of the command line, refused in the words of every other refusal."""

from __future__ import annotations

import re

import click

_DIGITS = re.compile(r"[+-]?\d{1,18}", re.ASCII)


class WholeNumber(click.IntRange):
    """A whole number in ASCII digits within a range; `--help` shows the range as click does."""

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the number.

        Raises:
            click.UsageError: it is none, or outside the range; one sentence with the range.
        """
        text = str(value).strip()
        number = int(text) if _DIGITS.fullmatch(text) else None
        low, high = self.min, self.max
        inside = number is not None and (low is None or number >= low) and (high is None or number <= high)
        if number is None or not inside:
            name = param.opts[0] if param is not None else "the value"
            upper = f" and at most {high}" if high is not None else ""
            raise click.UsageError(
                f"{name} must be a whole number of at least {low}{upper}, but is {text[:40]!r}.", ctx
            )
        return number
