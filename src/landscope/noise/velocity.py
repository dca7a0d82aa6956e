"""Drift, velocity variance and memory of a window along directions (paper, Eqs. 12 and 13)."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import scipy.fft
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from landscope._checks import check_count, check_trajectory
from landscope.directions.directions import Directions, check_is_directions
from landscope.directions.moving import moving, rounding_strength
from landscope.errors import InputError
from landscope.results import Result, stamp
from landscope.trajectory import Trajectory
from landscope.trajectory.spacing import equal_distance

__all__ = ["VelocityStatistics", "integrated_time", "velocity_statistics", "white_time", "white_time_in_sample"]

_COLUMNS = 128
_ENOUGH_SAMPLES = 50
_MIN_EPOCHS = 5


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class VelocityStatistics(
    Result,
    kind="velocity_statistics",
    dims={
        **dict.fromkeys(
            (
                "drift", "velocity_variance", "variance", "correlation_time", "white_time_in_sample", "msd_exponent",
                "integrated_time", "effective_samples", "resolved", "persistence",
            ),
            ("mode",),
        ),
        "autocorrelation": ("lag", "mode"), "msd": ("msd_lag", "mode"), "msd_lags": ("msd_lag",),
    },
):  # fmt: skip
    """Velocity statistics along directions; times count steps.

    Args:
        drift: Mean velocity of each mode, weight units a step, ``[k]``.
        velocity_variance: D_i = <v_i^2>, about zero as in the paper; the mean velocity matters in the first mode only.
        variance: Variance sigma_i^2 of this window about its own mean.
        correlation_time: tau_i = sigma_i^2/(D_i dt); NaN for a mode that does not move.
        white_time: tau of white velocities in a centred window of this length, along directions fixed beforehand.
        white_time_in_sample: tau that white isotropic velocities show along the principal modes of this very window.
        autocorrelation: c_i(t) = C_i(t)/D_i of the velocity at lags 0 to max_lag, ``[lags, k]``.
        msd: Mean squared displacement at ``msd_lags``, ``[lags, k]``.
        msd_lags: Lags in steps.
        msd_exponent: Slope of ln msd on ln lag: 1 for diffusion, 2 for drift, 0 for a confined mode.
        integrated_time: Integrated autocorrelation time of theta_i itself, up to where the correlation vanishes.
        effective_samples: T/integrated_time: how many independent values sigma_i^2 is made of.
        resolved: Whether the mode moves and those are at least 50; where not, sigma_i^2 and tau_i grow with the window.
            It holds for directions fixed beforehand: in-sample modes of a free walk oscillate and can look resolved, so
            compare their correlation_time with ``white_time_in_sample``.
        persistence: Correlation of the displacements of successive epochs, drift included; NaN where the window
            holds fewer than five ends of epochs.
        n_steps: Rows T.
        dt: Steps between rows.
    """

    drift: Float[Tensor, " k"]
    velocity_variance: Float[Tensor, " k"]
    variance: Float[Tensor, " k"]
    correlation_time: Float[Tensor, " k"]
    white_time: float
    white_time_in_sample: Float[Tensor, " k"]
    autocorrelation: Float[Tensor, "lags k"]
    msd: Float[Tensor, "m k"]
    msd_lags: Int[Tensor, " m"]
    msd_exponent: Float[Tensor, " k"]
    integrated_time: Float[Tensor, " k"]
    effective_samples: Float[Tensor, " k"]
    resolved: Bool[Tensor, " k"]
    persistence: Float[Tensor, " k"]
    n_steps: int
    dt: int


def velocity_statistics(
    trajectory: Trajectory,
    directions: Directions,
    max_lag: int | None = None,
    *,
    steps_per_epoch: int | None = None,
) -> VelocityStatistics:
    r"""Drift, velocity variance, autocorrelation and correlation time of each mode (paper, Eqs. 12 and 13).

    .. math:: v_i = \Delta\theta_i/\Delta t, \quad D_i = \langle v_i^2 \rangle, \quad
              C_i(t) = \langle v_i(t'+t)\, v_i(t') \rangle, \quad
              \tau_i = \sigma_i^2 / (D_i \Delta t)

    D_i is a variance of velocities, not a diffusion coefficient, and tau_i is not an integrated correlation time: for
    white velocities the window alone sets tau_i, and the result gives that value beside it.

    Args:
        trajectory: The window to measure on: that of the principal modes, or another.
        directions: Principal modes, or any other directions.
        max_lag: Largest lag of the autocorrelation, in rows; a tenth of the window by default.
        steps_per_epoch: Minibatches an epoch, for the persistence over epochs; not measured by default.

    Returns:
        The statistics, in float64.

    Raises:
        InputError: If the trajectory has other weights or fewer than four rows, its steps are not evenly spaced,
            or the lag does not fit the window.

    Example:
        A walk of independent steps of variance 1: D = 1, and no memory beyond lag 0.

        >>> import torch
        >>> from landscope.directions.principal import principal_modes
        >>> from landscope.synthetic import random_walk
        >>> window = Trajectory.of(random_walk(4000, 2, seed=0))
        >>> found = velocity_statistics(window, principal_modes(window), max_lag=2)
        >>> [round(x, 1) for x in found.velocity_variance.tolist()], found.resolved.tolist()
        ([1.0, 1.0], [False, False])
    """
    check_trajectory(trajectory)
    check_is_directions(directions)
    trajectory.check(minimum_rows=4)
    if steps_per_epoch is not None:
        check_count("steps_per_epoch", steps_per_epoch, minimum=1, hint="Whole minibatches: n_samples // batch_size.")
    count, dt = len(trajectory), equal_distance(trajectory, "velocities")
    lag = max(1, count // 10) if max_lag is None else check_count("max_lag", max_lag, minimum=1)
    if lag > count - 2:
        raise InputError(expected=f"max_lag of at most {count - 2} rows", got=f"{lag}", hint="Record longer.")
    theta = directions.project_trajectory(trajectory)
    velocity = theta.diff(dim=0) / dt
    covariance = _autocovariance(velocity, lag)
    strength = covariance[0]
    variance = theta.var(dim=0, correction=0)
    moves = moving(variance, strength, rounding_strength(directions.directions, trajectory) / dt**2)
    integrated = integrated_time(theta - theta.mean(dim=0))
    lags = _log_spaced(count // 4)
    msd = torch.stack([(theta[step:] - theta[:-step]).square().mean(dim=0) for step in lags.tolist()])
    effective = count / integrated
    return VelocityStatistics(
        drift=velocity.mean(dim=0),
        velocity_variance=strength,
        variance=variance,
        correlation_time=torch.where(moves, variance / (strength * dt), math.nan),
        white_time=white_time(count) * dt,
        white_time_in_sample=white_time_in_sample(count, trajectory.dim, theta.shape[1]) * dt,
        autocorrelation=covariance / torch.where(moves, strength, math.nan),
        msd=msd,
        msd_lags=lags * dt,
        msd_exponent=_slope(torch.log(lags.double()), torch.log(msd)),
        integrated_time=integrated * dt,
        effective_samples=effective,
        resolved=(effective >= _ENOUGH_SAMPLES) & moves,
        persistence=torch.where(moves, _persistence(theta, trajectory.steps, steps_per_epoch), math.nan),
        n_steps=count,
        dt=dt,
        provenance=stamp(max_lag=lag, steps_per_epoch=steps_per_epoch),
    )


def white_time(n_rows: int) -> float:
    r"""Time tau of white velocities in a centred window of T rows, along directions fixed beforehand.

    .. math:: \tau = \frac{T^2 - 1}{6 T}

    The paper's T/2 belongs to a theta measured from the start of the window (its Eq. 13).

    Example:
        >>> white_time(2)
        0.25
    """
    return (n_rows**2 - 1) / (6 * n_rows)


def white_time_in_sample(n_rows: int, dim: int, n_modes: int) -> Float[Tensor, " k"]:
    r"""Time tau that white isotropic velocities show along the principal modes of the window they were recorded in.

    .. math:: \tau_k \approx \frac{N}{4 T \sin^2(\pi k/2T)\,(1 + N/T)} \;\to\; \frac{N T}{\pi^2 k^2 (1 + N/T)}

    Choosing directions by their variance makes tau fall with rank where there is no memory at all. Good for N >> T,
    within a factor of two elsewhere.

    Args:
        n_rows: Rows T of the window.
        dim: Dimension N.
        n_modes: Modes asked for; those beyond rank min(T - 1, N) are NaN.

    Example:
        >>> [round(x) for x in white_time_in_sample(1000, 10**9, 2).tolist()]
        [101321, 25330]
    """
    rank = torch.arange(1, n_modes + 1, dtype=torch.float64)
    tau = dim / (4 * n_rows * torch.sin(math.pi * rank / (2 * n_rows)) ** 2 * (1 + dim / n_rows))
    return torch.where(rank <= min(n_rows - 1, dim), tau, math.nan)


def _autocovariance(values: Float[Tensor, "T k"], max_lag: int) -> Float[Tensor, "lags k"]:
    """Mean of x(t) x(t + lag) over the pairs there are, by FFT, a few columns at a time."""
    count, columns = values.shape
    pairs = torch.arange(count, count - max_lag - 1, -1, dtype=torch.float64)
    size = scipy.fft.next_fast_len(count + max_lag, real=True)
    found = torch.empty(max_lag + 1, columns, dtype=torch.float64)
    for first in range(0, columns, _COLUMNS):
        part = np.ascontiguousarray(values[:, first : first + _COLUMNS].numpy().T)
        power = np.abs(scipy.fft.rfft(part, size, workers=-1)) ** 2
        sums = scipy.fft.irfft(power, size, workers=-1)[:, : max_lag + 1]
        found[:, first : first + _COLUMNS] = torch.from_numpy(np.ascontiguousarray(sums.T)) / pairs[:, None]
    return found


def integrated_time(theta: Float[Tensor, "T k"]) -> Float[Tensor, " k"]:
    """1 + 2 sum rho(t) up to the first lag at which rho is not positive: a slow oscillation must not cancel itself."""
    count, columns = theta.shape
    found = torch.empty(columns, dtype=torch.float64)
    for first in range(0, columns, _COLUMNS):
        covariance = _autocovariance(theta[:, first : first + _COLUMNS], count // 2)
        rho = covariance / covariance[0].clamp(min=torch.finfo(torch.float64).tiny)
        before = (rho > 0).cumprod(dim=0)
        found[first : first + _COLUMNS] = 2 * (rho * before).sum(dim=0) - 1
    return found.clamp(min=1.0)


def _log_spaced(largest: int) -> Int[Tensor, " m"]:
    return torch.logspace(0, math.log10(max(2, largest)), 20, dtype=torch.float64).round().long().unique()


def _slope(x: Tensor, y: Tensor) -> Tensor:
    centred = x - x.mean()
    return (centred[:, None] * y).sum(dim=0) / centred.square().sum()


def _persistence(
    theta: Float[Tensor, "T k"], steps: Int[Tensor, " T"], steps_per_epoch: int | None
) -> Float[Tensor, " k"]:
    """Correlation of the displacements of one epoch with those of the next, about zero.

    Epochs are cut where they end: one step later, the last minibatch of each would count in the wrong one.
    """
    ends = theta[steps % steps_per_epoch == 0] if steps_per_epoch is not None else theta[:0]
    if len(ends) < _MIN_EPOCHS:
        return torch.full((theta.shape[1],), math.nan, dtype=torch.float64)
    moves = ends.diff(dim=0)
    scale = (moves[1:].square().sum(dim=0) * moves[:-1].square().sum(dim=0)).sqrt()
    return (moves[1:] * moves[:-1]).sum(dim=0) / torch.where(scale > 0, scale, math.nan)
