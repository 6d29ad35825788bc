"""Simulated coverage: the cells and the simulation are those of benchmarks/coverage.py, which prints the whole table.

Criterion per cell and number: coverage not significantly below 94 % (one-sided binomial p < 0.001), and a mean width
not above that of the range over the simultaneous exact box; for differences, over a box that holds for both runs. The
coverage of one class's Wilson interval, averaged over p, is exact in test_binomial.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "coverage.py"
FEW = ("10 tied at .5, n=100", "10 at .99, n=50", "one at .5, nine at .98, n=1000")
FEW_PAIRED = ("tied at .5, then the profile", "the worst class moves", "one apart, n=1000")


def _load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("coverage_benchmark", BENCHMARK)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


benchmark = _load()


def _check(found: dict[str, Any], name: str) -> None:
    for metric, one in found.items():
        assert not one.below, f"{metric} in {name}: {one.share:.3f}"
        assert not one.wide, f"{metric} in {name}: {one.width:.6f}, the box {one.box:.6f}"


@pytest.mark.parametrize("name", FEW)
def test_intervals_cover_in_three_cells(name: str) -> None:
    found = benchmark.simulate(name, 200)
    assert list(found) == [*benchmark.METRICS, benchmark.TOGETHER]
    _check(found, name)


@pytest.mark.parametrize("name", FEW_PAIRED)
def test_differences_cover_in_three_cells(name: str) -> None:
    found = benchmark.simulate_pairs(name, 60)
    assert list(found) == list(benchmark.CHANGES)
    _check(found, name)


def test_the_criterion_can_fail() -> None:
    """Of 2,000 tables 92 % is significantly below 94 %, 93 % is not; 172 of 200 is, 180 is not. Any width above is."""
    for covered, tables, below in ((1840, 2000, True), (1860, 2000, False), (172, 200, True), (180, 200, False)):
        assert benchmark.Coverage(covered, tables, 1.0, 1.0).below is below
    assert benchmark.Coverage(95, 100, 0.2000001, 0.2).wide
    assert not benchmark.Coverage(95, 100, 0.2, 0.2).wide


@pytest.mark.slow
@pytest.mark.parametrize("name", list(benchmark.CELLS))
def test_intervals_cover(name: str) -> None:
    _check(benchmark.simulate(name, 2000), name)


@pytest.mark.slow
@pytest.mark.parametrize("name", list(benchmark.PAIRED_CELLS))
def test_differences_cover(name: str) -> None:
    _check(benchmark.simulate_pairs(name, 2000), name)
