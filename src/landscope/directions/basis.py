"""Bases: other directions for the same analysis, and the variance of any window along them."""

from __future__ import annotations

import dataclasses

import torch
from jaxtyping import Float
from torch import Tensor

from landscope.directions.principal import PrincipalModes
from landscope.directions.variance import mean_and_total_variance
from landscope.errors import InputError
from landscope.results import Result, stamp
from landscope.trajectory import Trajectory

__all__ = ["Basis", "modes_along", "variance_along"]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Basis(
    Result,
    kind="basis",
    dims={"directions": ("mode", "weight"), "values": ("mode",), "residuals": ("mode",)},
):
    """Orthonormal directions that were not chosen by their variance on a window.

    Args:
        directions: Unit vectors, ``[k, N]``.
        values: Their eigenvalues, falling; NaN for random directions.
        residuals: Norm of A p - value p over the largest value: 0 for an exact eigenvector.
        name: What they are.
    """

    directions: Float[Tensor, "k N"]
    values: Float[Tensor, " k"]
    residuals: Float[Tensor, " k"]
    name: str


def modes_along(basis: Basis, trajectory: Trajectory) -> PrincipalModes:
    """A basis seen as modes of a window: the same analyses take it, in the order the basis has.

    Args:
        basis: Directions.
        trajectory: The window to measure on.

    Returns:
        The directions with the variances of the window along them, which need not fall.

    Raises:
        InputError: If the window is of other weights.

    Example:
        >>> import torch
        >>> window = Trajectory.of(torch.randn(50, 3, generator=torch.Generator().manual_seed(0)))
        >>> modes_along(random_basis(3, 2, seed=0), window).variance.shape
        torch.Size([2])
    """
    if basis.directions.shape[1] != trajectory.dim:
        raise InputError(
            expected=f"a trajectory of {basis.directions.shape[1]} weights",
            got=f"one of {trajectory.dim}",
            hint="Measure along a basis of the same model and selection.",
        )
    mean, total = mean_and_total_variance(trajectory)
    modes = PrincipalModes(
        mean=mean,
        directions=basis.directions,
        variance=torch.zeros(len(basis.directions), dtype=torch.float64),
        total_variance=total,
        n_steps=len(trajectory),
        parameters=trajectory.space.names if trajectory.space is not None else (),
        provenance=stamp(basis=basis.name),
    )
    return dataclasses.replace(modes, variance=variance_along(modes, trajectory))


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
        >>> from landscope.directions.principal import principal_modes
        >>> window = Trajectory.of(torch.randn(50, 3, generator=torch.Generator().manual_seed(0)))
        >>> modes = principal_modes(window)
        >>> torch.allclose(variance_along(modes, window), modes.variance)
        True
    """
    trajectory.check()
    return modes.project_trajectory(trajectory).var(dim=0, correction=0)
