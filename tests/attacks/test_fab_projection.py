"""FAB's inner problem against linear programming, the original's code, and its own definition."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog, minimize

from fairbench.attacks.fab_projection import nearest_by_sorting, nearest_in_plane

NORMS = ["Linf", "L2", "L1"]


def problem(seed, n=6, pixels=12, reach=0.7, exact_zeros=True):
    """Points in the box, some pixels at its edge; planes at a random share of the way that can be gone."""
    generator = torch.Generator().manual_seed(seed)
    points = (1.4 * torch.rand(n, 2, pixels, generator=generator) - 0.2).clamp(0, 1)
    w = torch.randn(n, pixels, generator=generator)
    if exact_zeros:
        w = w * (torch.rand(n, pixels, generator=generator) > 0.2)
    share = reach * torch.rand(n, generator=generator)
    first = points[:, 0]
    gain = (w.abs() * torch.where(w > 0, first, 1 - first)).sum(1)
    b = (w * first).sum(1) - share * gain
    excess = (points.double() * w.double()[:, None]).sum(2) - b.double()[:, None]
    return points, w, b, excess.float()


def length(moves, norm):
    return {"Linf": moves.abs().amax(-1), "L2": moves.norm(dim=-1), "L1": moves.abs().sum(-1)}[norm]


def optimum(t, w, b, norm):
    """The length of the shortest move by linear programming (Linf, L1) or a generic solver (L2); None: no such move."""
    d = len(t)
    if norm == "Linf":  # minimise s with -s <= d_i <= s
        result = linprog(
            np.r_[np.zeros(d), 1.0],
            A_ub=np.block([[np.eye(d), -np.ones((d, 1))], [-np.eye(d), -np.ones((d, 1))]]), b_ub=np.zeros(2 * d),
            A_eq=np.r_[w, 0.0][None], b_eq=[b - w @ t],
            bounds=[*zip(-t, 1 - t, strict=True), (0, None)],
        )  # fmt: skip
        return result.fun if result.status == 0 else None
    if norm == "L1":  # d = up - down
        result = linprog(
            np.ones(2 * d), A_eq=np.r_[w, -w][None], b_eq=[b - w @ t],
            bounds=[*zip(np.zeros(d), 1 - t, strict=True), *zip(np.zeros(d), t, strict=True)],
        )  # fmt: skip
        return result.fun if result.status == 0 else None
    start = np.zeros(d)
    result = minimize(
        lambda z: z @ z, start, jac=lambda z: 2 * z, bounds=list(zip(-t, 1 - t, strict=True)), method="SLSQP",
        constraints={"type": "eq", "fun": lambda z: w @ (t + z) - b, "jac": lambda z: w},
        options={"maxiter": 500, "ftol": 1e-14},
    )  # fmt: skip
    return np.sqrt(result.fun) if result.success else None


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("method", ["newton", "sort"])
def test_as_short_as_mathematical_programming(norm, method):
    for seed in range(4):
        points, w, b, excess = problem(seed)
        solve = (
            nearest_in_plane(points, w, excess, norm) if method == "newton" else nearest_by_sorting(points, w, b, norm)
        )
        assert (points + solve).min() >= -1e-6
        assert (points + solve).max() <= 1 + 1e-6
        for row in range(len(w)):
            t, normal = points[row, 0].double().numpy(), w[row].double().numpy()
            best = optimum(t, normal, float(b[row].double()), norm)
            assert best is not None
            assert length(solve[row, 0], norm).item() == pytest.approx(best, rel=1e-4, abs=1e-5)
            on_plane = normal @ (t + solve[row, 0].double().numpy()) - b[row].item()
            assert abs(on_plane) < 1e-5


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("pixels", [3, 64, 784])
def test_equal_to_the_originals(norm, pixels):
    from pyautoattack import fab_projections

    original = getattr(fab_projections, f"projection_{norm.lower()}")
    for seed in range(3):
        points, w, b, excess = problem(seed, n=20, pixels=pixels, reach=1.3, exact_zeros=seed > 0)
        expected = original(points.transpose(0, 1).flatten(0, 1), w.repeat(2, 1), b.repeat(2))
        expected = expected.reshape(2, 20, pixels).transpose(0, 1)
        assert torch.equal(nearest_by_sorting(points, w, b, norm), expected)
        ours = nearest_in_plane(points, w, excess, norm)
        # The original sums in float32 from the far end; where little is needed it can be off by more than this.
        need = (excess.abs() / w.abs().amax(1)[:, None]) > 1e-2
        assert torch.allclose(length(ours, norm)[need], length(expected, norm)[need], rtol=2e-3, atol=1e-4)


@pytest.mark.parametrize("norm", NORMS)
def test_where_the_box_ends_before_the_plane_everything_goes_as_far_as_it_can(norm):
    """w = (1, -2, 0), t = (0.25, 0.5, 0.3), w.t = -0.75; w.z = -2.5 would need -1.75, but at most
    0.25 + 2 x 0.5 = 1.25 can be gone: to (0, 1, 0.3)."""
    points, w = torch.tensor([[[0.25, 0.5, 0.3]]]), torch.tensor([[1.0, -2.0, 0.0]])
    moves = nearest_in_plane(points, w, torch.tensor([[1.75]]), norm)
    assert moves.flatten().tolist() == [-0.25, 0.5, 0.0]
    assert torch.equal(nearest_by_sorting(points, w, torch.tensor([-2.5]), norm), moves)


@pytest.mark.parametrize(
    ("norm", "expected"),
    [("Linf", [-0.25, 0.375, 0.0]), ("L2", [-0.2, 0.4, 0.0]), ("L1", [0.0, 0.5, 0.0])],
)
def test_by_hand(norm, expected):
    """The same point and w.z = -1.75, needed: 1.0. Linf: level 1/3 would move pixel 0 beyond 0, so it stops at 0.25 and
    pixel 1 gives (1 - 0.25) / 2 = 0.375. L2: level a moves (a, 2a), 5a = 1, a = 0.2: (0.2, 0.4). L1: pixel 1 alone
    gives 2 x 0.5 = 1."""
    points, w = torch.tensor([[[0.25, 0.5, 0.3]]]), torch.tensor([[1.0, -2.0, 0.0]])
    moves = nearest_in_plane(points, w, torch.tensor([[1.0]]), norm)
    assert moves.flatten().tolist() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("norm", NORMS)
def test_no_gradient_moves_nothing(norm):
    points, w = torch.rand(2, 2, 5, generator=torch.Generator().manual_seed(0)), torch.zeros(2, 5)
    assert torch.equal(nearest_in_plane(points, w, torch.ones(2, 2), norm), torch.zeros(2, 2, 5))
    assert torch.equal(nearest_by_sorting(points, w, torch.ones(2), norm), torch.zeros(2, 2, 5))


@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 10**6), norm=st.sampled_from(NORMS), scale=st.sampled_from([1e-12, 1e-4, 1.0, 1e6]))
def test_scaled_logits_change_nothing(seed, norm, scale):
    points, w, _, excess = problem(seed)
    plain = nearest_in_plane(points, w, excess, norm)
    scaled = nearest_in_plane(points, w * scale, excess * scale, norm)
    assert torch.allclose(length(plain, norm), length(scaled, norm), rtol=1e-4, atol=1e-6)


@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 10**6), norm=st.sampled_from(NORMS), reach=st.sampled_from([1e-4, 0.1, 0.9, 1.0]))
def test_float32_agrees_with_float64(seed, norm, reach):
    points, w, _, _ = problem(seed, pixels=300, reach=reach)
    excess = torch.rand(6, 2, generator=torch.Generator().manual_seed(seed)) * reach * 10
    single = nearest_in_plane(points, w, excess, norm)
    double = nearest_in_plane(points.double(), w.double(), excess.double(), norm)
    assert torch.allclose(length(single, norm).double(), length(double, norm), rtol=1e-4, atol=1e-6)
