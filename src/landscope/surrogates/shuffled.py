"""The null of the variance-flatness law: the increments of the window in random order."""

from __future__ import annotations

import torch

from landscope._checks import generator_of
from landscope.surrogates.building import changed_steps, check_window
from landscope.trajectory import Trajectory

__all__ = ["shuffled_increments"]


def shuffled_increments(trajectory: Trajectory, *, seed: int) -> Trajectory:
    r"""The null of the variance-flatness law: the window's own increments in random order, added up again.

    :math:`w'_t = w_0 + \sum_{s \le t} \Delta w_{\pi(s)}`. The surrogate has the same first and last row and the same
    covariance of increments, but no memory: what its modes, flatness and law show comes from the noise
    covariance and from PCA on a finite window, not from correlations in time.

    Args:
        trajectory: The window.
        seed: Seed of the permutation.

    Returns:
        A trajectory of the same length, in the dtype of the window; where it would take more than a quarter of the
        free memory, its rows are made of those of the window when they are read.

    Raises:
        InputError: If the window has fewer than three rows.

    Example:
        >>> import torch
        >>> from landscope.trajectory import Trajectory
        >>> walk = Trajectory.of(torch.tensor([[0.0], [1.0], [3.0], [6.0]]))
        >>> surrogate = shuffled_increments(walk, seed=1).weights.flatten()
        >>> float(surrogate[0]), float(surrogate[-1]), sorted(surrogate.diff().tolist())
        (0.0, 6.0, [1.0, 2.0, 3.0])
    """
    check_window(trajectory)
    order = torch.randperm(len(trajectory) - 1, generator=generator_of(seed))
    return changed_steps(trajectory, lambda steps: steps[order], "shuffled increments", seed)
