"""Evidence about how many of a class's samples the full attack leaves robust, after some of them were drawn.

A class has N samples; a cheap attack left S of them unbroken. B of these S, unknown, are broken by the full attack.
They are drawn without replacement in an order fixed at random beforehand; of m drawn, b were broken.

The prior-posterior ratio of Waudby-Smith and Ramdas (NeurIPS 2020, "Confidence sequences for sampling without
replacement", section 3.1) is, with a beta-binomial working prior on B,

    ratio(B) = P(b of m under the prior) / P(b of m | B),   P(b of m | B) hypergeometric.

At the true B it is a nonnegative martingale that begins at 1 (a supermartingale once one outcome has become
impossible), whatever the prior, so that it ever reaches 1 / error with probability at most `error` (Ville), however
sampling is stopped and wherever the next sample is drawn. The product of two classes' ratios is one, too: their orders
are independent.

All functions return natural logarithms. Arrays run over r = S - B, the robust count: 0..S.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt
from scipy import special

Floats = npt.NDArray[np.float64]

#: Beta parameters of the working prior on the share that the rest of a cascade breaks: 10 % expected, widely spread. It
#: decides how many draws are needed, not whether bounds hold.
PRIOR = (0.5, 4.5)


@lru_cache(maxsize=8)  # sizes are powers of two
def _log_factorials(up_to: int) -> Floats:
    return np.asarray(special.gammaln(np.arange(up_to + 1) + 1.0))


def log_ratio(survivors: int, drawn: int, broken: int, *, prior: tuple[float, float] = PRIOR) -> Floats:
    """Return log ratio(B) for r = S - B = 0..S, shape (S + 1,); +inf where the draws exclude it.

    Args:
        survivors: S.
        drawn: m of them were drawn, 0 <= m <= S.
        broken: b of those were broken, 0 <= b <= m.
        prior: the two parameters of the beta-binomial.
    """
    s, m, b = survivors, drawn, broken
    assert 0 <= b <= m <= s, (s, m, b)
    size = 1 << max(s, 1).bit_length()
    log_f = _log_factorials(max(size, 4096))
    alpha, beta = prior
    # b of m under the prior, without the binomial coefficient C(m, b), which both sides share.
    marginal = special.betaln(alpha + b, beta + m - b) - special.betaln(alpha, beta)
    out = np.full(s + 1, np.inf)
    low, high = b, s - (m - b)  # the B that the draws allow
    # P(this order | B) = B!/(B-b)! (S-B)!/(S-B-m+b)! (S-m)!/S!, over B = low..high. Slices, not lists of places: a race
    # asks for this after every few verdicts.
    rest = slice(s - high, s - low + 1)
    order = log_f[low : high + 1] - log_f[low - b : high - b + 1]
    order += log_f[rest][::-1]
    order -= log_f[: high - low + 1][::-1]
    order += log_f[s - m]
    order -= log_f[s]
    out[rest] = (marginal - order)[::-1]
    return out


@lru_cache(maxsize=8)
def _log_factorials_list(up_to: int) -> list[float]:
    return _log_factorials(up_to).tolist()  # type: ignore[no-any-return]


@lru_cache(maxsize=8)
def _log_beta(alpha: float, beta: float) -> float:
    return float(special.betaln(alpha, beta))


def least_log_ratio(
    low: int, high: int, survivors: int, drawn: int, broken: int, *, prior: tuple[float, float] = PRIOR
) -> float:
    """Return the least `log_ratio` over robust counts r = low..high, +inf where the draws exclude all of them.

    P(b of m | B) is log-concave in B, as C(B, b) and C(S - B, m - b) are, and largest at B = b (S + 1) // m (where that
    division is exact, at the B before it, too): over a range it is largest at the B nearest to that.
    """
    s, m, b = survivors, drawn, broken
    first, last = max(b, s - high), min(s - (m - b), s - low)
    if first > last:
        return np.inf
    f = _log_factorials_list(max(1 << max(s, 1).bit_length(), 4096))
    marginal = float(special.betaln(prior[0] + b, prior[1] + m - b)) - _log_beta(*prior)
    nearest, tie = divmod(b * (s + 1), m) if m else (0, 1)
    n, rest = min(max(nearest, first), last), m - b
    least = marginal - (f[n] - f[n - b] + f[s - n] - f[s - n - rest] + f[s - m] - f[s])
    if tie == 0 and n == nearest > first:
        n -= 1
        least = min(least, marginal - (f[n] - f[n - b] + f[s - n] - f[s - n - rest] + f[s - m] - f[s]))
    return least


def at_least(ratio: Floats) -> Floats:
    """Return, for r = 0..S, the least log ratio over robust counts of at least r, and +inf for r = S + 1: (S + 2,)."""
    return np.append(np.minimum.accumulate(ratio[::-1])[::-1], np.inf)


def not_above(ratio: Floats, count: int, other_at_least: Floats, other_count: int) -> float:
    """Return the log evidence against "this class is no more robust than the other", r / N <= r' / N'.

    The least product of both ratios over all pairs of counts that satisfy it.

    Args:
        ratio: `log_ratio` of this class.
        count: N.
        other_at_least: `at_least` of the other class's `log_ratio`.
        other_count: N'.
    """
    if count == other_count:
        # r' is at least r. Where r is beyond all r', the sum is infinite.
        both = min(len(ratio), len(other_at_least))
        return float((ratio[:both] + other_at_least[:both]).min())
    robust = np.arange(len(ratio), dtype=np.int64)
    needed = -(-robust * other_count // count)  # ceil(r N' / N) in whole numbers
    return float(np.min(ratio + other_at_least[np.minimum(needed, len(other_at_least) - 1)]))


def bounds(ratio: Floats, *, error: float) -> tuple[int, int]:
    """Return the least and the largest robust count whose ratio has not reached 1 / error."""
    kept = np.flatnonzero(ratio < -np.log(error))
    return int(kept[0]), int(kept[-1])
