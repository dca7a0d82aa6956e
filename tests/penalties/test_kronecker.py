"""Implicit steps of a Kronecker penalty against dense algebra, also where inputs are always 0."""

import pytest
import torch

from landscope.penalties import KroneckerPenalty

M, N = 3, 7


def randn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def penalty(strength=1.0, dtype=torch.float64):
    """Inputs 2 and 5 are always 0; the others span six decades."""
    scales = torch.tensor([1.0, 1e-1, 0, 1e-2, 1e-3, 0, 1e-6], dtype=torch.float64)
    inputs, outputs = scales[:, None] * randn(N, 50, seed=1), randn(M, 50, seed=2)
    return KroneckerPenalty(
        anchor=randn(M, N, seed=3).to(dtype), inputs=(inputs @ inputs.T / 50).to(dtype),
        outputs=(outputs @ outputs.T / 50).to(dtype), strength=strength,
    )  # fmt: skip


def dense_step(held, w, step_size):
    """(I + 2 alpha lambda G x A) z = w - w1, solved as a whole."""
    stiffness = 2 * held.strength * torch.kron(held.outputs.double(), held.inputs.double())
    system, anchor = torch.eye(M * N, dtype=torch.float64) + step_size * stiffness, held.anchor.double().flatten()
    return anchor + torch.linalg.solve(system, w.double() - anchor)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("strength", [0.0, 1e-12, 1e-6, 1.0, 100.0])
def test_a_step_is_that_of_dense_algebra(strength, dtype):
    held, w = penalty(strength, dtype), randn(M * N, seed=4).to(dtype)
    stepped, expected = held.proximal_step(w, 0.1).double(), dense_step(held, w, 0.1)
    # Eigenvalues are exact to eps times the largest one, and weights to eps times themselves.
    largest = 0.2 * strength * torch.linalg.matrix_norm(held.inputs, 2) * torch.linalg.matrix_norm(held.outputs, 2)
    within = 10 * torch.finfo(dtype).eps * (1 + float(largest)) * float(w.norm() + held.anchor.norm())
    assert torch.allclose(stepped, expected, atol=within, rtol=0)


@pytest.mark.parametrize("strength", [1e20, 1e38])
def test_a_step_of_any_strength_ends_at_the_anchor_and_is_finite(strength):
    held = KroneckerPenalty(anchor=torch.ones(2, 2), inputs=torch.eye(2), outputs=1e3 * torch.eye(2), strength=strength)
    assert held.proximal_step(torch.zeros(4), 10.0).tolist() == [1.0] * 4


def test_weights_that_nothing_holds_stay_bit_by_bit():
    inputs = torch.diag(torch.tensor([2.0, 0.0, 0.5, 0.0]))
    held = KroneckerPenalty(anchor=randn(2, 4).float(), inputs=inputs, outputs=torch.eye(2), strength=1e30)
    w = randn(8, seed=5).float()
    after = held.proximal_step(w, 0.1).view(2, 4)
    assert torch.equal(after[:, [1, 3]], w.view(2, 4)[:, [1, 3]])
    assert torch.allclose(after[:, [0, 2]], held.anchor[:, [0, 2]], atol=1e-6)
    assert torch.equal(held.with_strength(0.0).proximal_step(w, 0.1), w)


def test_one_step_of_many_points():
    held, points = penalty(3.0), randn(5, M * N, seed=6)
    stepped = held.proximal_step(points, 0.2)
    for point, after in zip(points, stepped, strict=True):
        assert torch.allclose(after, dense_step(held, point, 0.2), atol=1e-12)
