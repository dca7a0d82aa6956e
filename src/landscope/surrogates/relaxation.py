"""An Ornstein-Uhlenbeck process fitted to a window, seen at whole steps."""

from __future__ import annotations

import torch

from landscope.directions.directions import Directions, check_is_directions
from landscope.surrogates.building import check_window, surrogate_of
from landscope.synthetic import autoregressive
from landscope.trajectory import Trajectory
from landscope.trajectory.spacing import check_even_rows

__all__ = ["ornstein_uhlenbeck"]


def ornstein_uhlenbeck(trajectory: Trajectory, directions: Directions, *, seed: int) -> Trajectory:
    r"""Relaxation and white noise fitted to the window along each direction: a run without memory in a bowl.

    Along each mode :math:`\theta' = a_i \theta + \xi`, with a_i from the correlation of successive rows and the
    variance of the noise from the increments; exact for an Ornstein-Uhlenbeck process seen at whole steps.

    Args:
        trajectory: The window.
        directions: Directions to fit along, orthonormal; nothing moves outside them.
        seed: Seed of the noise.

    Returns:
        A trajectory of the same length about the mean of the window, in memory.

    Raises:
        InputError: If the window has other weights or fewer than three rows.

    Example:
        >>> import torch
        >>> from landscope.directions.principal import principal_modes
        >>> from landscope.synthetic import autoregressive
        >>> from landscope.trajectory import Trajectory
        >>> window = Trajectory.of(autoregressive(torch.tensor([0.9, 0.5]), 4000, seed=0))
        >>> again = ornstein_uhlenbeck(window, principal_modes(window), seed=1)
        >>> bool(((again.weights.var(0) / window.weights.var(0)).log().abs() < 0.4).all())
        True
    """
    check_window(trajectory)
    check_even_rows(trajectory, "a process fitted to its steps")
    check_is_directions(directions)
    theta = directions.project_trajectory(trajectory)
    centre = theta.mean(dim=0)
    before, after = theta[:-1] - centre, theta[1:] - centre
    power = before.square().sum(dim=0)
    relaxation = ((before * after).sum(dim=0) / torch.where(power > 0, power, 1.0)).clamp(-1 + 1e-9, 1 - 1e-9)
    noise = (after - relaxation * before).square().mean(dim=0)
    path = autoregressive(relaxation, len(theta), seed=seed, noise_variance=noise)
    weights = directions.mean + (path + centre) @ directions.directions
    return surrogate_of(trajectory, weights, "Ornstein-Uhlenbeck", seed)
