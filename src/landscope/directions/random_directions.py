"""Random directions, as a control for the same analyses."""

from __future__ import annotations

import dataclasses

import torch

from landscope._checks import check_count, generator_of
from landscope.directions.directions import Directions
from landscope.errors import InputError
from landscope.results import stamp

__all__ = ["random_directions"]


def random_directions(dim: int, n_modes: int, *, seed: int) -> Directions:
    """Orthonormal directions drawn evenly from the sphere.

    Args:
        dim: Number of weights N.
        n_modes: Number of directions, at most N.
        seed: Seed of the draw.

    Returns:
        The directions; their values are NaN.

    Raises:
        InputError: If ``n_modes`` is not between 1 and N.

    Example:
        >>> random_directions(5, 2, seed=0).directions.shape
        torch.Size([2, 5])
    """
    check_count("dim", dim)
    if not 1 <= check_count("n_modes", n_modes, minimum=1) <= dim:
        raise InputError(expected=f"n_modes between 1 and {dim}", got=f"{n_modes}", hint="Ask for fewer.")
    normal = torch.randn(dim, n_modes, dtype=torch.float64, generator=generator_of(seed))
    directions = torch.linalg.qr(normal).Q.T.contiguous()
    return dataclasses.replace(
        Directions.of(directions, name="random directions"), provenance=stamp(n_modes=n_modes, seed=seed)
    )
