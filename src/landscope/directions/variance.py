"""The variance of a window over all directions of weight space."""

from __future__ import annotations

import torch

from landscope.trajectory import Trajectory

__all__ = ["total_variance"]


def total_variance(trajectory: Trajectory) -> float:
    """Variance of all rows about their mean, summed over all N directions and divided by T."""
    if len(trajectory) <= trajectory.dim:
        return sum(float(panel.double().var(dim=0, correction=0).sum()) for _, panel in trajectory.panels())
    mean = torch.zeros(trajectory.dim, dtype=torch.float64)
    for block in trajectory.blocks():
        mean += block.double().sum(dim=0) / len(trajectory)
    return sum(float((block.double() - mean).square().sum()) for block in trajectory.blocks()) / len(trajectory)
