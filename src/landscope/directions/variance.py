"""How much a window moves along given directions: the one measurement every exponent starts from."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from landscope.trajectory import Trajectory

__all__ = ["mean_and_total_variance"]


def mean_and_total_variance(trajectory: Trajectory) -> tuple[Float[Tensor, " N"], float]:
    """Mean of all rows, and the variance about it summed over all N directions."""
    mean = torch.zeros(trajectory.dim, dtype=torch.float64)
    for block in trajectory.blocks():
        mean += block.double().sum(dim=0) / len(trajectory)
    total = sum(float((block.double() - mean).square().sum()) for block in trajectory.blocks()) / len(trajectory)
    return mean, total
