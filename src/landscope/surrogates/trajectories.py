"""Surrogates: other trajectories for the same analysis, so that an effect can be told from an artefact."""

from __future__ import annotations

import torch
from torch import Tensor

from landscope._checks import check_choice
from landscope.directions.directions import Directions
from landscope.errors import InputError
from landscope.results import stamp
from landscope.synthetic import autoregressive
from landscope.trajectory import Trajectory

__all__ = [
    "SURROGATES",
    "ornstein_uhlenbeck",
    "random_walk_like",
    "shuffled_increments",
    "sign_flipped_epochs",
    "surrogate",
]


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
    _check_length(trajectory)
    trajectory.check()
    order = torch.randperm(len(trajectory) - 1, generator=torch.Generator().manual_seed(seed))
    walk = torch.empty(len(trajectory), trajectory.dim, dtype=trajectory.row(0).dtype)
    for columns, panel in trajectory.panels():  # a window of a wide layer is gigabytes in float64
        rows = panel.double()
        steps = torch.diff(rows, dim=0)[order]
        walk[:, columns] = torch.cat([rows[:1], rows[:1] + steps.cumsum(dim=0)]).to(walk)
    return _surrogate_of(trajectory, walk, "shuffled increments", seed)


def sign_flipped_epochs(trajectory: Trajectory, *, seed: int, steps_per_epoch: int) -> Trajectory:
    r"""A surrogate that keeps every epoch as it was, but lets each go forwards or backwards at random.

    The increments of each epoch are multiplied by a random sign: memory within an epoch stays, drift and memory over
    epochs do not.

    Args:
        trajectory: The window.
        seed: Seed of the signs.
        steps_per_epoch: Minibatches an epoch.

    Returns:
        A trajectory of the same length from the same first row, in memory.

    Raises:
        InputError: If the window lies within one epoch.

    Example:
        >>> import torch
        >>> from landscope.trajectory import Trajectory
        >>> walk = Trajectory.of(torch.arange(9.0)[:, None])
        >>> sign_flipped_epochs(walk, seed=0, steps_per_epoch=4).weights.diff(dim=0).abs().unique().tolist()
        [1.0]
    """
    first, increments = _increments(trajectory)
    # The increment that ends at step s was made by the minibatch of epoch (s - 1) // M.
    epoch = (trajectory.steps[1:] - 1) // steps_per_epoch
    epoch = epoch - epoch[0]
    if int(epoch[-1]) < 1:
        raise InputError(
            expected=f"a window that reaches into at least two epochs of {steps_per_epoch} steps",
            got=f"{len(increments)} steps of one",
            hint="Record longer.",
        )
    generator = torch.Generator().manual_seed(seed)
    signs = 2.0 * torch.randint(0, 2, (int(epoch[-1]) + 1,), generator=generator).double() - 1
    flipped = increments * signs[epoch][:, None]
    return _walked(trajectory, first, flipped, "sign-flipped epochs", seed)


def random_walk_like(trajectory: Trajectory, *, seed: int, drift: bool = False) -> Trajectory:
    r"""An isotropic random walk of the same length, dimension and mean squared step.

    Args:
        trajectory: The window.
        seed: Seed of the steps.
        drift: Add the window's own drift, (last row - first row)/(T - 1) a step.

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
    first, increments = _increments(trajectory)
    mean = increments.mean(dim=0)
    spread = (increments - mean).square().mean().sqrt()
    steps = spread * torch.randn(increments.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    name = "random walk with drift" if drift else "random walk"
    return _walked(trajectory, first, steps + mean if drift else steps, name, seed)


def ornstein_uhlenbeck(trajectory: Trajectory, modes: Directions, *, seed: int) -> Trajectory:
    r"""Relaxation and white noise fitted to the window, mode by mode: what a memoryless run in a bowl would do.

    Along each mode :math:`\theta' = a_i \theta + \xi`, with a_i from the correlation of successive rows and the
    variance of the noise from the increments; exact for an Ornstein-Uhlenbeck process seen at whole steps.

    Args:
        trajectory: The window.
        modes: Directions to fit along, orthonormal; nothing moves outside them.
        seed: Seed of the noise.

    Returns:
        A trajectory of the same length about the mean of the window, in memory.

    Raises:
        InputError: If the window is of other weights or has fewer than three rows.

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
    _check_length(trajectory)
    theta = modes.project_trajectory(trajectory)
    centre = theta.mean(dim=0)
    before, after = theta[:-1] - centre, theta[1:] - centre
    power = before.square().sum(dim=0)
    relaxation = ((before * after).sum(dim=0) / torch.where(power > 0, power, 1.0)).clamp(-1 + 1e-9, 1 - 1e-9)
    noise = (after - relaxation * before).square().mean(dim=0)
    path = autoregressive(relaxation, len(theta), seed=seed, noise_variance=noise)
    weights = modes.mean + (path + centre) @ modes.directions
    return Trajectory.of(
        weights.to(trajectory.row(0).dtype),
        steps=trajectory.steps,
        space=trajectory.space,
        provenance=stamp(surrogate="Ornstein-Uhlenbeck", seed=seed),
    )


def _check_length(trajectory: Trajectory) -> None:
    if len(trajectory) < 3:
        raise InputError(expected="a window of at least 3 rows", got=f"{len(trajectory)}", hint="Record longer.")


def _increments(trajectory: Trajectory) -> tuple[Tensor, Tensor]:
    _check_length(trajectory)
    trajectory.check()
    weights = trajectory.weights.double()
    return weights[:1], torch.diff(weights, dim=0)


def _walked(trajectory: Trajectory, first: Tensor, increments: Tensor, name: str, seed: int) -> Trajectory:
    """The increments added up again from the first row."""
    walk = torch.cat([first, first + increments.cumsum(dim=0)])
    return _surrogate_of(trajectory, walk.to(trajectory.row(0).dtype), name, seed)


def _surrogate_of(trajectory: Trajectory, walk: Tensor, name: str, seed: int) -> Trajectory:
    return Trajectory.of(
        walk, steps=trajectory.steps, space=trajectory.space, provenance=stamp(surrogate=name, seed=seed)
    )


SURROGATES = ("shuffled", "sign-flipped", "random-walk", "random-walk-with-drift", "ornstein-uhlenbeck")
"""Names of the surrogates, the null that matters first."""


def surrogate(name: str, trajectory: Trajectory, modes: Directions, *, seed: int, steps_per_epoch: int) -> Trajectory:
    """The surrogate of a name in :data:`SURROGATES`.

    Raises:
        InputError: If there is none of that name, or the window is too short for it.
    """
    check_choice("name", name, SURROGATES)
    if name == "sign-flipped":
        return sign_flipped_epochs(trajectory, seed=seed, steps_per_epoch=steps_per_epoch)
    if name == "ornstein-uhlenbeck":
        return ornstein_uhlenbeck(trajectory, modes, seed=seed)
    if name == "shuffled":
        return shuffled_increments(trajectory, seed=seed)
    return random_walk_like(trajectory, seed=seed, drift=name == "random-walk-with-drift")
