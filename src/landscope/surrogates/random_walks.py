"""Isotropic random walks as long as a window, with steps of the same size."""

from __future__ import annotations

import torch

from landscope._checks import generator_of
from landscope.surrogates.building import increments_of, walk_of
from landscope.trajectory import Trajectory

__all__ = ["random_walk_like"]


def random_walk_like(trajectory: Trajectory, *, seed: int, drift: bool = False) -> Trajectory:
    r"""An isotropic random walk of the same length, dimension and mean squared step.

    Args:
        trajectory: The window.
        seed: Seed of the steps.
        drift: Whether to add the window's own drift, (last row - first row)/(T - 1) in each step.

    Returns:
        The walk, from the same first row, in memory.

    Raises:
        InputError: If the window has fewer than three rows.

    Example:
        >>> import torch
        >>> from landscope.trajectory import Trajectory
        >>> window = Trajectory.of(torch.randn(50, 4, generator=torch.Generator().manual_seed(0)).cumsum(0))
        >>> random_walk_like(window, seed=1).weights.shape
        torch.Size([50, 4])
    """
    first, increments = increments_of(trajectory)
    mean = increments.mean(dim=0)
    spread = (increments - mean).square().mean().sqrt()
    steps = spread * torch.randn(increments.shape, dtype=torch.float64, generator=generator_of(seed))
    name = "random walk with drift" if drift else "random walk"
    return walk_of(trajectory, first, steps + mean if drift else steps, name, seed)
