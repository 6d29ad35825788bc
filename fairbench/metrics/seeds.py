"""Several seeds of a method against several of another: what may be said about methods, not checkpoints.

Images and seeds are two sources of chance. Intervals over images say how one checkpoint would do on other images; the
t interval over per-seed differences says how the methods differ over new trainings. They are never mixed. A bootstrap
over 3 seeds covers .75 of the time, over 5 seeds .84; the t interval .95.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import special

from fairbench.errors import BadInput


@dataclass(frozen=True)
class SeedInterval:
    """The mean of per-seed differences and its interval; NaN limits where one seed is all there is."""

    mean: float
    low: float
    high: float
    seeds: int

    @property
    def decided(self) -> bool:
        """True where the interval leaves out 0."""
        return self.low > 0 or self.high < 0

    def sentence(self, what: str) -> str:
        """Return one sentence about the difference of `what`, in percentage points."""
        found = f"over {self.seeds} seed{'s' * (self.seeds != 1)} {what} differs by {100 * self.mean:+.1f} points"
        if self.seeds < 2:
            return f"{found}; one seed says nothing about the methods, so this is not decidable."
        limits = f"95 % t interval {100 * self.low:+.1f} to {100 * self.high:+.1f}"
        verdict = "the sign is decided" if self.decided else "not decidable with so few seeds"
        return f"{found} ({limits}): {verdict}."


def seed_interval(after: npt.ArrayLike, before: npt.ArrayLike, *, confidence: float = 0.95) -> SeedInterval:
    """Return the t interval of after - before over seeds, paired by position.

    Args:
        after: (n,) one number per seed, such as the worst-class accuracy under one attack.
        before: (n,) the same of the other method under the same seeds.
        confidence: of the interval.

    Raises:
        BadInput: no seeds, lists of different lengths, or undefined numbers.
    """
    a, b = np.asarray(after, dtype=np.float64), np.asarray(before, dtype=np.float64)
    if a.ndim != 1 or a.shape != b.shape or not a.size or not np.isfinite(a - b).all():
        raise BadInput(
            f"seeds are compared in pairs: give two lists of one length without undefined numbers, "
            f"but got the shapes {a.shape} and {b.shape}."
        )
    differences, n = a - b, a.size
    mean = float(differences.mean())
    if n < 2:
        return SeedInterval(mean, np.nan, np.nan, n)
    half = float(special.stdtrit(n - 1, 0.5 + confidence / 2) * differences.std(ddof=1) / np.sqrt(n))
    return SeedInterval(mean, mean - half, mean + half, n)
