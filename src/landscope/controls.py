"""Controls: the same analysis on other data, so that an effect can be told from an artefact."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from landscope.errors import InputError
from landscope.modes import PrincipalModes
from landscope.results import stamp
from landscope.trajectory import Trajectory

__all__ = ["shuffled_increments", "variance_along"]


def shuffled_increments(trajectory: Trajectory, *, seed: int) -> Trajectory:
    r"""The null of the variance-flatness law: the window's own increments in random order, added up again.

    :math:`w'_t = w_0 + \sum_{s \le t} \Delta w_{\pi(s)}`. The surrogate has the same first and last row and the same
    covariance of increments, but no memory: whatever its modes, flatness and law show is made by the noise
    covariance and by PCA on a finite window, not by correlations in time.

    Args:
        trajectory: The window.
        seed: Seed of the permutation.

    Returns:
        A trajectory of the same length, in memory, in the dtype of the window.

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
    if len(trajectory) < 3:
        raise InputError(
            expected="a window of at least 3 rows to shuffle", got=f"{len(trajectory)}", hint="Record longer."
        )
    weights = trajectory.weights
    increments = torch.diff(weights.double(), dim=0)
    order = torch.randperm(len(increments), generator=torch.Generator().manual_seed(seed))
    walk = torch.cat([weights[:1].double(), weights[:1].double() + increments[order].cumsum(dim=0)])
    return Trajectory.of(
        walk.to(weights.dtype),
        steps=trajectory.steps,
        space=trajectory.space,
        provenance=stamp(surrogate="shuffled increments", seed=seed),
    )


def variance_along(modes: PrincipalModes, trajectory: Trajectory) -> Float[Tensor, " k"]:
    r"""Variance of another window along given modes: the cross-fitted counterpart of ``modes.variance``.

    :math:`\sigma_i^2 = \frac1T \sum_t (\theta_i(t) - \bar\theta_i)^2` about the window's own mean.

    Args:
        modes: Modes found on one window.
        trajectory: Another window of the same weights.

    Returns:
        The variances, divided by T, in float64.

    Raises:
        InputError: If the trajectory is of other weights or has fewer than two rows.

    Example:
        >>> import torch
        >>> from landscope.modes import principal_modes
        >>> window = Trajectory.of(torch.randn(50, 3, generator=torch.Generator().manual_seed(0)))
        >>> modes = principal_modes(window)
        >>> torch.allclose(variance_along(modes, window), modes.variance)
        True
    """
    trajectory.check()
    return modes.project_trajectory(trajectory).var(dim=0, correction=0)
