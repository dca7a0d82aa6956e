"""Which directions a window moved along at all: one rule for every fit, count and null."""

from __future__ import annotations

from jaxtyping import Bool, Float
from torch import Tensor

__all__ = ["ROUNDING", "moving"]

ROUNDING = 1e-12
"""Share of the largest variance (or length) of a window at and below which a direction holds rounding only."""


def moving(variance: Float[Tensor, " k"]) -> Bool[Tensor, " k"]:
    r"""Directions along which the weights moved by more than rounding.

    A direction moves where :math:`\sigma_i^2 > 10^{-12} \max_j \sigma_j^2`, with the largest variance of the same
    window. Rounding leaves variances near 1e-37 in directions that never moved, such as weights of dead inputs; the
    smallest real modes lie far above the threshold.

    Args:
        variance: Variances of one window along several directions, in any order.

    Returns:
        A mask; all False where no direction moves.

    Example:
        >>> import torch
        >>> moving(torch.tensor([1.0, 1e-6, 1e-37])).tolist()
        [True, True, False]
    """
    if not len(variance):
        return variance > 0
    return variance > ROUNDING * variance.max()
