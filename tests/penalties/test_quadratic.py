"""The quadratic penalty against autograd and dense linear algebra."""

import pytest
import torch

import landscope as ls
from landscope import penalties
from quadratics import diagonal, low_rank

N = 11


@pytest.fixture(params=["low rank", "low rank, floor", "diagonal"])
def case(request):
    return {"low rank": lambda: low_rank(floor=0.0), "low rank, floor": low_rank, "diagonal": diagonal}[request.param]()


def test_the_value_is_that_of_the_dense_matrix(case):
    """The matrix A of V = z' A z, the slow and obvious way."""
    w = torch.randn(4, N).double()
    z = w - case.anchor
    if case.directions is None:
        matrix = torch.diag(case.stiffness)
    else:
        rest = torch.eye(N).double() - case.directions.T @ case.directions
        matrix = case.directions.T @ torch.diag(case.stiffness) @ case.directions + case.floor * rest
    assert torch.allclose(case(w), case.strength * ((z @ matrix) * z).sum(dim=-1), rtol=1e-12)


def test_the_anchor_is_a_minimum_without_slope_that_no_step_leaves(case):
    assert float(case(case.anchor)) == 0
    assert not bool(case.gradient(case.anchor).any())
    assert torch.equal(case.proximal_step(case.anchor, 0.5), case.anchor)


def test_stiffness_along_each_direction_is_what_was_asked_for():
    p = low_rank()
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
    p = low_rank()
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
