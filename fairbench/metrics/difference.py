"""Two models on the same images: intervals for the change of the worst class, of std and of normalized std.

All three hold where classes tie, before, after or in both. Differences are after - before.

**Worst class.** Let p be the true accuracies before, q after, and b the truly worst class before (any one of several).
Then min q - min p = min over c of (q_c - p_b). The allowed error of 2.5 % per side is split into .0200 + .0025 + .0025:

1. a set of classes that holds b, from the accuracies before: those whose lower limit (error .0025, for b alone) is not
   above the least simultaneous upper limit (error .0025 over all classes);
2. for each b in the set an upper limit of min over c of (q_c - p_b): the least of the upper limits of q_c - p_b, all
   of which hold together. Half of .02 goes to c = b, whose images are paired, half to the K - 1 other classes, whose
   images differ from b's, so that the two are independent;
3. the largest of these over the set.

Only b itself must be right in step 2, so the set costs no further correction. The lower limit is the same with before
and after exchanged. Single differences combine exact limits of their parts on either side, added in squares
(MOVER, Zou and Donner 2008); the paired one is `paired_limit`.

**Std, normalized std.** Let R be the observed difference. Along p(s), q(t) as in `spread` both spreads have a known
mean and variance (gamma-matched), so R exceeds the true difference by bias(t) - bias(s) on average, with a variance
that the observed per-class covariance of the paired verdicts reduces. How large bias and variance are depends on the
unknown s and t; the worst case over their 99.75 % intervals is taken, and the normal limits around it are at 95.5 %
(Berger and Boos, JASA 1994: .0025 + .0025 + .0450 = .05). Where counts differ or a class has fewer than 5 hits or
errors in either run, both ranges over exact boxes that hold together for the 2 K accuracies are subtracted.

Shape key: K classes, G grid of scales.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy import special

from fairbench.metrics.binomial import clopper_pearson, exact_lower, exact_upper, sidak
from fairbench.metrics.box import normalized_std_range, std_range
from fairbench.metrics.classwise import Floats
from fairbench.metrics.paired import Difference, PairedCounts, paired_limit
from fairbench.metrics.spread import cumulants, parts, regular, scales

_GRID = 25


def worst_class_difference(pairs: PairedCounts, *, confidence: float = 0.95) -> Difference:
    """Return how the accuracy of the worst class changed, whichever class that is in either run."""
    pairs = pairs.present
    if not pairs.count.size:
        return Difference(np.nan, np.nan, np.nan)
    error = (1 - confidence) / 2
    value = float(pairs.after.min() - pairs.before.min())
    return Difference(value, -_worst_upper(pairs.swapped, error), _worst_upper(pairs, error))


def std_difference(pairs: PairedCounts, *, confidence: float = 0.95) -> Difference:
    """Return how the population std over classes changed."""
    return _spread_difference(pairs, confidence, std_range, relative=False)


def normalized_std_difference(pairs: PairedCounts, *, confidence: float = 0.95) -> Difference:
    """Return how std / mean over classes changed; NaN where either is undefined."""
    return _spread_difference(pairs, confidence, normalized_std_range, relative=True)


def _worst_upper(pairs: PairedCounts, error: float) -> float:
    """Return the upper limit of min q - min p at the one-sided `error`."""
    num, n = pairs.count.size, pairs.count
    before, after = pairs.both + pairs.lost, pairs.both + pairs.gained
    aside, rest = 0.1 * error, 0.8 * error
    ceiling = exact_upper(before, n, error=aside / num).min()
    candidates = np.flatnonzero(exact_lower(before, n, error=aside) <= ceiling)
    own = rest if num == 1 else rest / 2
    limits = np.full((num, num), np.inf)
    if num > 1:
        each = rest / 2 / (num - 1)
        up = exact_upper(after, n, error=each) - pairs.after
        down = pairs.before - exact_lower(before, n, error=each)
        limits = pairs.after[:, None] - pairs.before + np.hypot(up[:, None], down)
    np.fill_diagonal(limits, paired_limit(n, pairs.lost, pairs.gained, own))
    return float(limits[:, candidates].min(axis=0).max())


def _spread_difference(
    pairs: PairedCounts, confidence: float, widest: Callable[[Floats], Floats], *, relative: bool
) -> Difference:
    pairs = pairs.present
    if not pairs.count.size:
        return Difference(np.nan, np.nan, np.nan)
    before, after = pairs.before, pairs.after
    means = (before.mean(), after.mean()) if relative else (1.0, 1.0)
    if min(means) == 0:
        return Difference(np.nan, np.nan, np.nan)
    value = float(after.std() / means[1] - before.std() / means[0])
    hits = np.stack([pairs.both + pairs.lost, pairs.both + pairs.gained])
    aside = (1 - confidence) / 20
    if regular(hits, pairs.count).all():
        n = int(pairs.count[0])
        low, high = scales(np.stack([before, after]), n, 1 - aside, relative=relative)
        if not np.isnan(high).any():
            z = float(special.ndtri(1 - (1 - confidence - 2 * aside) / 2))
            excess, deviation = _excess(pairs, n, low, high, means, relative=relative)
            # R - (after - before) has mean `excess`; the reader gets the worst case on either side.
            bottom, top = value - (excess + z * deviation).max(), value - (excess - z * deviation).min()
            return Difference(value, float(min(bottom, value)), float(max(top, value)))
    box = clopper_pearson(hits, pairs.count, confidence=sidak(confidence, 2 * pairs.count.size))
    (low_before, high_before), (low_after, high_after) = widest(box)
    return Difference(value, float(low_after - high_before), float(high_after - low_before))


def _excess(
    pairs: PairedCounts, n: int, low: Floats, high: Floats, means: tuple[float, float], *, relative: bool
) -> tuple[Floats, Floats]:
    """Return (G, G) mean and standard deviation of R minus the true difference, over scales before x after."""
    num = pairs.count.size
    covariance = (pairs.both / n - pairs.before * pairs.after) / n
    bias, spread, variance, linear = [], [], [], []
    for accuracy, first, last, mean in zip((pairs.before, pairs.after), low, high, means, strict=True):
        scale = np.linspace(first, last, _GRID)
        expected, varying, _ = cumulants(accuracy[None], n, scale, relative=relative)
        shape = expected**2 / varying
        # sqrt of a gamma variable: mean sqrt(scale) Gamma(shape + 1/2) / Gamma(shape).
        root = np.sqrt(varying / expected) * special.poch(shape, 0.5) / np.sqrt(num)
        bias.append(root / mean - scale * accuracy.std() / mean)
        spread.append(np.sqrt(np.maximum(expected / num - root**2, 0.0)) / mean)
        variance.append(varying)
        linear.append(parts(accuracy[None], n, scale, relative=relative)[1])
    together = 2 * ((1 - 2 / num) * (covariance**2).sum() + covariance.sum() ** 2 / num**2)
    crossed = together + 4 * (linear[0] * covariance) @ linear[1].T
    correlation = np.clip(crossed / np.sqrt(variance[0][:, None] * variance[1]), -1.0, 1.0)
    squared = spread[0][:, None] ** 2 + spread[1] ** 2 - 2 * correlation * spread[0][:, None] * spread[1]
    return bias[1] - bias[0][:, None], np.sqrt(np.maximum(squared, 0.0))
