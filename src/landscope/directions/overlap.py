"""How much two sets of directions span the same subspace."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from landscope.errors import InputError

__all__ = ["subspace_overlap"]


def subspace_overlap(first: Float[Tensor, "k N"], second: Float[Tensor, "k N"]) -> float:
    r"""How much two k-dimensional subspaces coincide: 1 for the same, 0 for orthogonal ones, k/N by chance.

    .. math:: \frac1k \sum_{ij} (p_i \cdot q_j)^2

    Args:
        first: Orthonormal directions.
        second: As many orthonormal directions.

    Returns:
        The mean squared cosine of the principal angles.

    Raises:
        InputError: If the shapes differ.

    Example:
        >>> import torch
        >>> subspace_overlap(torch.eye(4)[:2], torch.eye(4)[1:3])
        0.5
    """
    if first.shape != second.shape:
        raise InputError(
            expected="two subspaces of one shape [k, N]",
            got=f"{tuple(first.shape)} and {tuple(second.shape)}",
            hint="Compare as many modes of the same parameters.",
        )
    return float((first.double() @ second.double().T).square().sum() / len(first))
