"""Bases: other directions for the same analysis, and the variance of any window along them."""

from __future__ import annotations

import torch

from landscope._checks import check_count
from landscope.directions.basis import Basis
from landscope.errors import InputError
from landscope.results import stamp

__all__ = ["random_basis"]


def random_basis(dim: int, n_modes: int, *, seed: int) -> Basis:
    """Orthonormal directions drawn evenly from the sphere.

    Args:
        dim: N.
        n_modes: How many, at most N.
        seed: Seed of the draw.

    Returns:
        The basis; its values are NaN.

    Raises:
        InputError: If ``n_modes`` is not between 1 and N.

    Example:
        >>> random_basis(5, 2, seed=0).directions.shape
        torch.Size([2, 5])
    """
    if not 1 <= check_count("n_modes", n_modes, minimum=1) <= dim:
        raise InputError(expected=f"n_modes between 1 and {dim}", got=f"{n_modes}", hint="Ask for fewer.")
    normal = torch.randn(dim, n_modes, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return Basis(
        directions=torch.linalg.qr(normal).Q.T.contiguous(),
        values=torch.full((n_modes,), torch.nan, dtype=torch.float64),
        residuals=torch.full((n_modes,), torch.nan, dtype=torch.float64),
        name="random directions",
        provenance=stamp(n_modes=n_modes, seed=seed),
    )
