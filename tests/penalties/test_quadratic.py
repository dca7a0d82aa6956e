"""The quadratic penalty against autograd and dense linear algebra."""

import pytest
import torch

import landscope as ls
from landscope import penalties

N, K = 7, 3


def penalty(floor=0.3, strength=2.0, dtype=torch.float64):
    directions = torch.linalg.qr(torch.randn(N, K, dtype=dtype)).Q.T.contiguous()
    stiffness = torch.tensor([5.0, 0.0, 0.7], dtype=dtype)
    return penalties.QuadraticPenalty(
        anchor=torch.randn(N, dtype=dtype), directions=directions, stiffness=stiffness, floor=floor, strength=strength
    )


def diagonal():
    return penalties.QuadraticPenalty(anchor=torch.randn(N).double(), stiffness=torch.rand(N).double(), strength=3.0)


def dense(p):
    """The matrix A of V = z' A z, the slow and obvious way."""
    if p.directions is None:
        return p.strength * torch.diag(p.stiffness)
    rest = torch.eye(N).double() - p.directions.T @ p.directions
    return p.strength * (p.directions.T @ torch.diag(p.stiffness) @ p.directions + p.floor * rest)


@pytest.fixture(params=["low rank", "low rank, floor", "diagonal"])
def case(request):
    return {"low rank": lambda: penalty(floor=0.0), "low rank, floor": penalty, "diagonal": diagonal}[request.param]()


def test_value_and_gradient_agree_with_the_dense_matrix_and_autograd(case):
    w = torch.randn(4, N).double().requires_grad_()
    z = w - case.anchor
    assert torch.allclose(case(w), ((z @ dense(case)) * z).sum(dim=-1), rtol=1e-12)
    (gradient,) = torch.autograd.grad(case(w).sum(), w)
    assert torch.allclose(case.gradient(w), gradient, rtol=1e-12)


@pytest.mark.parametrize("step_size", [1e-3, 0.1, 1e6])
def test_the_proximal_step_solves_the_dense_system(case, step_size):
    w = torch.randn(2, N).double()
    system = torch.eye(N).double() + 2 * step_size * dense(case)
    expected = case.anchor + torch.linalg.solve(system, (w - case.anchor).T).T
    assert torch.allclose(case.proximal_step(w, step_size), expected, rtol=1e-9, atol=1e-9)


def test_the_anchor_is_a_minimum_without_slope_that_no_step_leaves(case):
    assert float(case(case.anchor)) == 0
    assert not bool(case.gradient(case.anchor).any())
    assert torch.equal(case.proximal_step(case.anchor, 0.5), case.anchor)


def test_stiffness_along_each_direction_is_what_was_asked_for():
    p = penalty()
    for direction, stiffness in zip(p.directions, p.stiffness, strict=True):
        assert float(p(p.anchor + 2 * direction)) == pytest.approx(4 * p.strength * float(stiffness), abs=1e-12)
    other = torch.linalg.qr(torch.cat([p.directions.T, torch.randn(N, 1).double()], dim=1)).Q[:, -1]
    assert float(p(p.anchor + other)) == pytest.approx(p.strength * p.floor, rel=1e-9)


def test_identity_directions_and_a_diagonal_are_one_penalty():
    d = diagonal()
    p = penalties.QuadraticPenalty(
        anchor=d.anchor, directions=torch.eye(N).double(), stiffness=d.stiffness, strength=3.0
    )
    w = torch.randn(N).double()
    assert torch.allclose(p(w), d(w))
    assert torch.allclose(p.proximal_step(w, 0.2), d.proximal_step(w, 0.2))


def test_it_is_a_landscape_for_every_analysis():
    p = penalty()
    found = ls.landscape.directional_curvature(lambda w: 1.0 + p(w), p.anchor, p.directions)
    assert torch.allclose(found, 2 * p.strength * p.stiffness, atol=1e-6)


def test_it_is_saved_and_comes_back(tmp_path, case):
    loaded = ls.load(ls.save(case, tmp_path / "penalty.zarr.zip"))
    w = torch.randn(N).double()
    assert torch.equal(loaded(w), case(w))
    assert torch.equal(loaded.proximal_step(w, 0.1), case.proximal_step(w, 0.1))


def test_modes_in_half_precision_make_a_penalty():
    directions = torch.linalg.qr(torch.randn(12, 5)).Q.T.contiguous().bfloat16()
    ls.penalties.QuadraticPenalty(
        anchor=torch.zeros(12).bfloat16(), directions=directions, stiffness=torch.ones(5).bfloat16()
    )
