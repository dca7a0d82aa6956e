"""Random quadratic penalties on eleven weights, and the matrix of any of them."""

import torch

import landscope as ls
from landscope.penalties.blocks import PartPenalty
from landscope.penalties.kronecker import KroneckerPenalty


def layer_penalty(dim=11, strength=2.0):
    def covariance(n):
        rows = torch.randn(2 * n, n).double()
        return rows.T @ rows / n

    columns = torch.randperm(dim)[:6]
    part = KroneckerPenalty(
        anchor=torch.randn(2, 3).double(), inputs=covariance(3), outputs=covariance(2), strength=strength
    )
    return PartPenalty(part, columns, dim=dim)


def low_rank(dim=11, k=3, floor=0.2, strength=1.5):
    return ls.penalties.QuadraticPenalty(
        anchor=torch.randn(dim).double(), directions=torch.linalg.qr(torch.randn(dim, k).double()).Q.T.contiguous(),
        stiffness=torch.rand(k).double() * 5, floor=floor, strength=strength,
    )  # fmt: skip


def diagonal(dim=11, strength=3.0):
    return ls.penalties.QuadraticPenalty(
        anchor=torch.randn(dim).double(), stiffness=torch.rand(dim).double(), strength=strength
    )


def form_of(penalty, dim=11):
    """The matrix and the vector of the slope of a quadratic form, from its gradients at N + 1 points."""
    at_zero = penalty.gradient(torch.zeros(dim).double())
    return torch.stack([penalty.gradient(row) - at_zero for row in torch.eye(dim).double()]), at_zero
