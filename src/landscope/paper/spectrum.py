"""Fig. 1: the spectrum of the weight variance and the motion along its modes."""

from __future__ import annotations

import dataclasses
import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

from landscope.law import block_variances, exponent_interval
from landscope.modes import PrincipalModes, cosine_content
from landscope.results import Result, stamp
from landscope.scaling import fit_power_law
from landscope.trajectory import Trajectory

__all__ = ["Spectrum", "drift_share", "spectrum"]

_BLOCKS = 10
_PLOTTED_ROWS = 2000
_DRAWN_MODES = (1, 2, 49, 50)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Spectrum(
    Result,
    kind="spectrum",
    dims={
        "variance": ("mode",), "cross_variance": ("mode",), "cosine_content": ("mode",), "drift_share": ("mode",),
        "moments": ("block", "moment", "mode"), "cross_moments": ("block", "moment", "mode"),
        "path": ("point", "drawn"), "path_steps": ("point",),
    },
):  # fmt: skip
    """What Fig. 1 shows of one window.

    Args:
        variance: sigma_i^2 of every mode, in-sample.
        cross_variance: The same modes measured on the next window.
        moments: Moments of ten stretches of the window along each mode.
        cross_moments: The same of the next window.
        cosine_content: Likeness of each mode to the cosine of a random walk.
        drift_share: Share of the squared displacements of the ten stretches that goes one way, each mode.
        path: theta of the drawn modes over time, thinned.
        path_steps: Their optimisation steps.
        drawn: Ranks of the drawn modes.
        total_variance: Sum over all N directions.
        n_steps: Rows of the window.
        dim: Number of weights N.
        gamma: Exponent of the spectrum, sigma_i^2 ~ i^(-gamma); NaN where fewer than three ranks exist.
        gamma_interval: From blocks of time.
        gamma_cross: The same exponent with the variances of the next window.
        gamma_cross_interval: From blocks of that window.
        gamma_ranks: Ranks fitted.
        modes_for_90_percent: Rank n at which modes 2 to n hold 90 % of the variance without mode 1.
        alignment: Cosine between p_1 and w0, its absolute value.
    """

    variance: Float[Tensor, " k"]
    cross_variance: Float[Tensor, " k"]
    moments: Float[Tensor, "b 2 k"]
    cross_moments: Float[Tensor, "b 2 k"]
    cosine_content: Float[Tensor, " k"]
    drift_share: Float[Tensor, " k"]
    path: Float[Tensor, "points drawn"]
    path_steps: Int[Tensor, " points"]
    drawn: tuple[int, ...]
    total_variance: float
    n_steps: int
    dim: int
    gamma: float
    gamma_interval: tuple[float, float]
    gamma_cross: float
    gamma_cross_interval: tuple[float, float]
    gamma_ranks: tuple[int, int]
    modes_for_90_percent: int
    alignment: float


def spectrum(
    modes: PrincipalModes,
    window: Trajectory,
    next_window: Trajectory,
    *,
    gamma_ranks: tuple[int, int] = (20, 200),
) -> Spectrum:
    r"""Measure what Fig. 1 shows: the spectrum, its exponent, and the motion along the modes.

    Args:
        modes: Principal modes of ``window``.
        window: The trajectory they were found on.
        next_window: The trajectory that follows, for cross-fitted variances.
        gamma_ranks: First and last rank of the fit :math:`\sigma_i^2 \sim i^{-\gamma}`.

    Returns:
        The measurements.

    Raises:
        InputError: If a window is of other weights or too short for ten stretches.

    Example:
        >>> from landscope.modes import principal_modes
        >>> from landscope.synthetic import random_walk
        >>> walk = random_walk(400, 60, seed=0)
        >>> first, second = Trajectory.of(walk[:200]), Trajectory.of(walk[200:])
        >>> found = spectrum(principal_modes(first), first, second, gamma_ranks=(3, 20))
        >>> round(found.gamma, 1), round(float(found.cosine_content[0]), 1)
        (2.0, 1.0)
    """
    coordinates = modes.project_trajectory(window)
    next_coordinates = modes.project_trajectory(next_window)
    moments, next_moments = (block_variances(theta, _BLOCKS) for theta in (coordinates, next_coordinates))
    next_variance = next_coordinates.var(dim=0, correction=0)
    gamma, interval, ranks = _gamma(modes.variance, moments, gamma_ranks)
    gamma_cross, cross_interval, _ = _gamma(next_variance, next_moments, gamma_ranks)
    every = max(1, -(-len(window) // _PLOTTED_ROWS))
    drawn = tuple(rank for rank in _DRAWN_MODES if rank <= len(modes.variance))
    w0 = window.row(-1).double()
    return Spectrum(
        variance=modes.variance,
        cross_variance=next_variance,
        moments=moments,
        cross_moments=next_moments,
        cosine_content=cosine_content(coordinates),
        drift_share=drift_share(coordinates, _BLOCKS),
        path=coordinates[::every, [rank - 1 for rank in drawn]].clone(),
        path_steps=window.steps[::every].clone(),
        drawn=drawn,
        total_variance=modes.total_variance,
        n_steps=len(window),
        dim=window.dim,
        gamma=gamma,
        gamma_interval=interval,
        gamma_cross=gamma_cross,
        gamma_cross_interval=cross_interval,
        gamma_ranks=ranks,
        modes_for_90_percent=modes_for_share(modes.variance, modes.total_variance, 0.9),
        alignment=float((modes.directions[0] @ w0 / torch.linalg.vector_norm(w0)).abs()),
        provenance=stamp(gamma_ranks=gamma_ranks),
    )


def modes_for_share(variance: Float[Tensor, " k"], total: float, share: float) -> int:
    """Rank n at which modes 2 to n hold ``share`` of the variance without mode 1; k + 1 where k modes do not."""
    rest = variance[1:].cumsum(0) / (total - float(variance[0]))
    return int((rest < share).sum()) + 2


def _moving(variance: Tensor) -> Tensor:
    """Modes whose variance stands above the rounding of the weights, 1e-12 of the first."""
    return variance > 1e-12 * variance[0]


def spectrum_exponent(variance: Float[Tensor, " k"], ranks: tuple[int, int]) -> float:
    """The exponent gamma of sigma_i^2 ~ i^(-gamma) over ranks that exist and move; NaN where fewer than three do."""
    rank = torch.arange(1, len(variance) + 1, dtype=torch.float64)
    used = (rank >= ranks[0]) & (rank <= ranks[1]) & _moving(variance)
    return -fit_power_law(rank[used], variance[used]).exponent if int(used.sum()) >= 3 else math.nan


def _gamma(
    variance: Tensor, moments: Tensor, ranks: tuple[int, int]
) -> tuple[float, tuple[float, float], tuple[int, int]]:
    ranks = (ranks[0], min(ranks[1], len(variance)))
    gamma = spectrum_exponent(variance, ranks)
    if math.isnan(gamma):
        return gamma, (math.nan, math.nan), ranks
    used = slice(ranks[0] - 1, ranks[1])
    rank = torch.arange(ranks[0], ranks[1] + 1, dtype=torch.float64)
    moving = _moving(variance)[used]
    low, high = exponent_interval(rank[moving], moments[:, :, used][:, :, moving], -gamma)
    return gamma, (-high, -low), ranks


def drift_share(coordinates: Float[Tensor, "T k"], n_blocks: int) -> Float[Tensor, " k"]:
    r"""How one-sided the motion is: displacements :math:`\Delta_b` over ``n_blocks`` stretches of time.

    .. math:: \frac{(\sum_b \Delta_b)^2}{n \sum_b \Delta_b^2}

    1 for a steady drift, 1/n on average for independent displacements. The first principal mode of a random walk is
    half a cosine and has :math:`\approx 8/\pi^2 = 0.81`: PCA alone makes a walk look like a drift.

    Args:
        coordinates: theta over time.
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
    return displacements.sum(dim=0).square() / (n_blocks * displacements.square().sum(dim=0))


def random_walk_drift_share(n_blocks: int = _BLOCKS) -> float:
    """The drift share of the first principal mode of a random walk in many dimensions: half a cosine."""
    edges = torch.cos(torch.pi * torch.linspace(0, 1, n_blocks + 1, dtype=torch.float64))
    return float(drift_share(edges[:, None], n_blocks)[0])
