"""How much a window moves along given directions: the measurement that every exponent starts from."""

from __future__ import annotations

import dataclasses
import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from landscope._checks import check_count, check_trajectory
from landscope.directions.directions import Directions, check_is_directions
from landscope.directions.moving import moving, rounding_strength
from landscope.directions.variance import total_variance
from landscope.noise.cosine_content import cosine_content
from landscope.noise.relaxation import chosen_by_variance, time_of_means
from landscope.results import Result, stamp
from landscope.trajectory import Trajectory
from landscope.trajectory.spacing import unevenness

__all__ = ["ModeStatistics", "block_variances", "drift_share", "mode_statistics", "random_walk_drift_share"]

_BLOCKS = 10


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class ModeStatistics(
    Result,
    kind="mode_statistics",
    dims={
        **dict.fromkeys(
            (
                "variance", "velocity_variance", "moves", "drift_share", "cosine_content", "integrated_time",
                "velocity_time",
            ),
            ("mode",),
        ),
        **dict.fromkeys(("moments", "velocity_moments"), ("block", "moment", "mode")),
    },
):  # fmt: skip
    """Variances of positions and velocities along directions, with their parts in ten stretches of time.

    Args:
        variance: sigma_i^2 of the window about its own mean, divided by T, ``[k]``.
        velocity_variance: D_i = <v_i^2>, v the change from row to row (paper, Eq. 12). This and all times are NaN where
            the rows lie at uneven distances in time, as checkpoints do (``landscope.trajectory.spacing``).
        moves: Whether the window moved along the direction by more than rounding (:func:`landscope.directions.moving`).
        moments: Mean of theta (about the mean of the window) and of theta squared in each of ten stretches,
            ``[10, 2, k]``.
        velocity_moments: The same of the velocity.
        drift_share: Share of the squared displacements of the stretches that points one way; NaN where nothing moves.
        cosine_content: Likeness of coordinate k to the k-th cosine of a random walk; NaN where nothing moves.
        integrated_time: Integrated autocorrelation time of theta_i, in rows: twice the relaxation time of a relaxing
            direction (``landscope.noise.relaxation.time_of_means``).
        velocity_time: The same of v_i^2: how long the strength of the noise keeps its value.
        chosen_here: Whether the directions are the principal modes of this very window
            (``landscope.noise.relaxation.chosen_by_variance``).
        total_variance: Sum of the variance over all N directions.
        n_steps: Rows T.
    """

    variance: Float[Tensor, " k"]
    velocity_variance: Float[Tensor, " k"]
    moves: Bool[Tensor, " k"]
    moments: Float[Tensor, "b 2 k"]
    velocity_moments: Float[Tensor, "b 2 k"]
    drift_share: Float[Tensor, " k"]
    cosine_content: Float[Tensor, " k"]
    integrated_time: Float[Tensor, " k"]
    velocity_time: Float[Tensor, " k"]
    chosen_here: bool
    total_variance: float
    n_steps: int


def mode_statistics(directions: Directions, window: Trajectory) -> ModeStatistics:
    r"""Variance and velocity variance of a window along any directions, about the window's own mean.

    .. math:: \sigma_i^2 = \frac1T \sum_t (\theta_i(t) - \bar\theta_i)^2, \qquad
              D_i = \frac1{T-1} \sum_t (\theta_i(t+1) - \theta_i(t))^2

    Args:
        directions: Principal modes of this window or of another, or any other directions.
        window: The window to measure on.

    Returns:
        The statistics, in float64.

    Raises:
        InputError: If the window has other weights or fewer than 21 rows: ten stretches of two steps.

    Example:
        >>> import torch
        >>> from landscope.directions.principal import principal_modes
        >>> window = Trajectory.of(torch.randn(50, 3, generator=torch.Generator().manual_seed(0)))
        >>> modes = principal_modes(window)
        >>> torch.allclose(mode_statistics(modes, window).variance, modes.variance)
        True
    """
    check_is_directions(directions)
    check_trajectory(window)
    window.check(minimum_rows=2 * _BLOCKS + 1)
    theta = directions.project_trajectory(window)
    velocity = theta.diff(dim=0)
    centred = theta - theta.mean(dim=0)
    variance, strength = centred.square().mean(dim=0), velocity.square().mean(dim=0)
    if unevenness(window.steps):
        velocity, strength = velocity * math.nan, strength * math.nan
        moves, times = moving(variance), [torch.full_like(variance, math.nan)] * 2
    else:
        moves = moving(variance, strength, rounding_strength(directions.directions, window))
        times = [time_of_means(centred), time_of_means(velocity.square())]
    return ModeStatistics(
        variance=variance,
        velocity_variance=strength,
        moves=moves,
        moments=block_variances(centred, _BLOCKS),
        velocity_moments=block_variances(velocity, _BLOCKS),
        drift_share=torch.where(moves, drift_share(theta, _BLOCKS), torch.nan),
        cosine_content=torch.where(moves, cosine_content(centred), torch.nan),
        integrated_time=times[0],
        velocity_time=times[1],
        chosen_here=chosen_by_variance(centred),
        total_variance=total_variance(window),
        n_steps=len(window),
        provenance=stamp(directions=directions.name, source=dict(window.provenance)),
    )


def block_variances(coordinates: Float[Tensor, "T k"], n_blocks: int = 10) -> Float[Tensor, "b 2 k"]:
    """First and second moments of each of ``n_blocks`` stretches of time, for a jackknife over them.

    Args:
        coordinates: Principal coordinates theta_i(t).
        n_blocks: Stretches; the ten epochs of the paper's window by default.

    Returns:
        Mean of theta and of theta squared in each block and mode.

    Raises:
        InputError: If there are fewer than two rows a block.

    Example:
        >>> import torch
        >>> block_variances(torch.arange(8.0)[:, None].double(), n_blocks=2)[:, 0].tolist()
        [[1.5], [5.5]]
    """
    check_count("n_blocks", n_blocks)
    check_count("rows of coordinates", len(coordinates), minimum=2 * n_blocks, hint="Use fewer blocks.")
    parts = coordinates.double().tensor_split(n_blocks)
    return torch.stack([torch.stack([part.mean(dim=0), part.square().mean(dim=0)]) for part in parts])


def drift_share(coordinates: Float[Tensor, "T k"], n_blocks: int) -> Float[Tensor, " k"]:
    r"""How one-sided the motion is: displacements :math:`\Delta_b` over ``n_blocks`` stretches of time.

    .. math:: \frac{(\sum_b \Delta_b)^2}{n \sum_b \Delta_b^2}

    The share is 1 for a steady drift, and 1/n on average for independent displacements. The first principal mode of a
    random walk is half a cosine, with a share of :math:`\approx 8/\pi^2 = 0.81`: PCA alone makes a walk look like a
    drift.

    Args:
        coordinates: Coordinates theta over time.
        n_blocks: Stretches n.

    Returns:
        The share of each mode, between 0 and 1; NaN for one that does not move.

    Example:
        >>> import torch
        >>> drift_share(torch.arange(11.0)[:, None], 5).tolist()
        [1.0]
    """
    edges = torch.linspace(0, len(coordinates) - 1, n_blocks + 1).round().long()
    displacements = coordinates[edges].double().diff(dim=0)
    power = displacements.square().sum(dim=0)
    return torch.where(moving(power), displacements.sum(dim=0).square() / (n_blocks * power), torch.nan)


def random_walk_drift_share(n_blocks: int = _BLOCKS) -> float:
    """The drift share of the first principal mode of a random walk in many dimensions: half a cosine."""
    edges = torch.cos(torch.pi * torch.linspace(0, 1, n_blocks + 1, dtype=torch.float64))
    return float(drift_share(edges[:, None], n_blocks)[0])
