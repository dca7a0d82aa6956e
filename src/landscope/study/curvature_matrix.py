"""The curvature that pulls the weights back: the Gauss-Newton matrix, or the Hessian where there is none."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from landscope.errors import InputError
from landscope.risk import EmpiricalRisk

__all__ = ["curvature_matrix"]


def curvature_matrix(risk: EmpiricalRisk) -> tuple[str, Callable[[Tensor], Tensor]]:
    """Name and products of the Gauss-Newton matrix at w0, or of the Hessian where the loss has no such matrix."""
    probe = torch.randn(risk.space.dim, generator=torch.Generator().manual_seed(0)).to(risk.w0)
    try:
        has_curvature = bool(risk.gauss_newton_product(risk.w0, probe).any())
    except InputError:
        has_curvature = False
    if not has_curvature:  # the loss is made inside the model, or of straight pieces
        return "Hessian", lambda vector: risk.hessian_vector_product(risk.w0, vector)
    return "Gauss-Newton", lambda vector: risk.gauss_newton_product(risk.w0, vector)
