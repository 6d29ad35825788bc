from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from fairbench.errors import BadInput
from fairbench.metrics.seeds import seed_interval


def test_three_seeds_by_hand() -> None:
    """Differences .01 .02 .03: mean .02, sd .01, t(2, .975) = 4.302653, half = 4.302653 * .01 / sqrt(3) = .0248414."""
    found = seed_interval([0.31, 0.32, 0.33], [0.30, 0.30, 0.30])
    assert (found.mean, found.low, found.high) == pytest.approx((0.02, -0.0048414, 0.0448414), abs=1e-6)
    assert not found.decided
    assert found.sentence("the worst class") == (
        "over 3 seeds the worst class differs by +2.0 points (95 % t interval -0.5 to +4.5): "
        "not decidable with so few seeds."
    )


def test_scipy_agrees() -> None:
    rng = np.random.default_rng(0)
    after, before = rng.random(6), rng.random(6)
    theirs = stats.ttest_rel(after, before).confidence_interval(0.95)
    found = seed_interval(after, before)
    assert (found.low, found.high) == pytest.approx((theirs.low, theirs.high))


def test_the_t_interval_covers_what_it_promises() -> None:
    """Normal differences, 3 seeds, 4,000 times: 95 % up to 3.3 standard errors of simulation."""
    draws = np.random.default_rng(0).normal(0.02, 0.01, size=(4000, 3))
    covered = np.mean([(found := seed_interval(d, np.zeros(3))).low <= 0.02 <= found.high for d in draws])
    assert abs(covered - 0.95) < 3.3 * math.sqrt(0.95 * 0.05 / 4000)


def test_one_seed_decides_nothing() -> None:
    found = seed_interval([0.4], [0.3])
    assert math.isnan(found.low)
    assert not found.decided
    assert "one seed says nothing" in found.sentence("the average")


def test_many_agreeing_seeds_decide() -> None:
    found = seed_interval([0.5, 0.51, 0.52, 0.5], [0.3, 0.3, 0.31, 0.3])
    assert found.decided
    assert found.sentence("the average").endswith("the sign is decided.")


@pytest.mark.parametrize(("after", "before"), [([], []), ([1.0], [1.0, 2.0]), ([math.nan], [0.1])])
def test_seeds_without_partners_are_refused(after: list[float], before: list[float]) -> None:
    with pytest.raises(BadInput, match="pairs"):
        seed_interval(after, before)
