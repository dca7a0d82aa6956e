"""Fluctuation that alternates from step to step, apart from diffusion: the spectrum of a window along directions."""

from __future__ import annotations

import cmath
import dataclasses
import math

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from landscope._checks import check_momentum, check_trajectory
from landscope.directions.directions import Directions, check_is_directions
from landscope.directions.moving import moving, rounding_strength
from landscope.results import Result, stamp
from landscope.trajectory import Trajectory
from landscope.trajectory.spacing import check_every_step

__all__ = ["Oscillation", "oscillation", "oscillation_share"]

_FASTEST = 0.25
"""Frequency, in turns a step, above which a fluctuation is nearer to period 2 than to rest."""
_MIN_ROWS = 16
_SAME_ROOTS = 1e-9


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Oscillation(
    Result,
    kind="oscillation",
    dims=dict.fromkeys(("share", "standard_error", "lag_one", "variance"), ("mode",)),
):
    """Share of the variance of each direction that alternates from step to step.

    Args:
        share: Share of sigma_i^2 at frequencies above 1/4 a step, ``[k]``: 0 for slow motion, 1/2 for white noise, 1
            for an oscillation of period 2; NaN for a direction that does not move.
        standard_error: Standard error of the share, ``[k]``.
        lag_one: Correlation of theta_i at successive steps, ``[k]``.
        variance: sigma_i^2 of the window about its own mean, ``[k]``.
        n_steps: Rows T.
    """

    share: Float[Tensor, " k"]
    standard_error: Float[Tensor, " k"]
    lag_one: Float[Tensor, " k"]
    variance: Float[Tensor, " k"]
    n_steps: int


def oscillation(trajectory: Trajectory, directions: Directions) -> Oscillation:
    r"""The share of the variance in oscillation of period 2, against diffusion, along each direction.

    .. math:: h_i = \frac{\sum_{f > 1/4} |\hat\theta_i(f)|^2}{\sum_{f > 0} |\hat\theta_i(f)|^2}

    over the frequencies f = n/T of the centred window, those below 0 included. Near the edge of stability,
    alpha lambda near 2, the weights jump from one side of the valley to the other (Cohen et al., arXiv 2410.24206); a
    continuous-time description has h = 0. The standard error takes periodogram ordinates as independent with a standard
    deviation equal to their mean, and so :math:`\mathrm{Var} \sum_f I_f \approx \sum_f I_f^2/2` in each band. A drift
    from the first to the last row leaks at most about 2/T into h.

    Args:
        trajectory: The window, with a row for every step.
        directions: Any directions.

    Returns:
        The shares, in float64.

    Raises:
        InputError: If the window has fewer than 16 rows, other weights, or not a row for every step.

    Example:
        An alternation of equal steps is all oscillation.

        >>> import torch
        >>> rows = torch.tensor([1.0, -1.0]).repeat(16)[:, None]
        >>> axis = Directions.of(torch.eye(1))
        >>> oscillation(Trajectory.of(rows), axis).share.round(decimals=6).tolist()
        [1.0]
    """
    check_trajectory(trajectory)
    check_is_directions(directions)
    trajectory.check(minimum_rows=_MIN_ROWS)
    check_every_step(trajectory, "a period of two steps")
    theta = directions.project_trajectory(trajectory)
    count = len(theta)
    centred = theta - theta.mean(dim=0)
    power = torch.from_numpy(np.abs(np.fft.rfft(centred.numpy(), axis=0)) ** 2)
    # Every frequency stands for two, f and -f, but 1/2 of an even window, which has no partner.
    twice = torch.full((len(power), 1), 2.0, dtype=torch.float64)
    twice[0], twice[-1] = 0.0, 2.0 if count % 2 else 1.0
    frequency = torch.arange(len(power), dtype=torch.float64)[:, None] / count
    fast, slow = (power * twice * part for part in (frequency > _FASTEST, frequency <= _FASTEST))
    high, low = fast.sum(dim=0), slow.sum(dim=0)
    spread = (low.square() * fast.square().sum(dim=0) + high.square() * slow.square().sum(dim=0)) / 2
    variance = centred.square().mean(dim=0)
    steps = centred.diff(dim=0).square().mean(dim=0)
    moves = moving(variance, steps, rounding_strength(directions.directions, trajectory))
    total = torch.where(moves, high + low, math.nan)
    return Oscillation(
        share=high / total,
        standard_error=spread.sqrt() / total.square(),
        lag_one=torch.where(moves, (centred[1:] * centred[:-1]).sum(dim=0) / centred.square().sum(dim=0), math.nan),
        variance=variance,
        n_steps=count,
        provenance=stamp(),
    )


def oscillation_share(pull: Float[Tensor, " k"], momentum: float = 0.0) -> Float[Tensor, " k"]:
    r"""The share of oscillation that SGD in a bowl has, with independent gradient noise.

    .. math:: \theta_{t+1} = (1 + \beta - x)\, \theta_t - \beta\, \theta_{t-1} + \xi_t, \qquad x = \alpha\lambda

    With the autocorrelation :math:`\rho(k) = A r_1^k + (1 - A) r_2^k` of this process the share at frequencies above
    1/4 is

    .. math:: h = \frac12 - \frac2\pi \sum_{k\ \mathrm{odd}} \frac{(-1)^{(k-1)/2}}{k} \rho(k)
                = \frac12 - \frac2\pi \mathrm{Re}\left[A \arctan r_1 + (1 - A) \arctan r_2\right].

    Without momentum it is :math:`\frac2\pi \arctan\frac{x}{2 - x}`: above one half exactly where alpha lambda > 1.

    Args:
        pull: alpha lambda_i, weight decay included.
        momentum: beta.

    Returns:
        The share, float64; NaN where alpha lambda is not inside (0, 2 (1 + beta)), so that nothing is stationary.

    Raises:
        InputError: If the momentum is not inside [0, 1).

    Example:
        >>> import torch
        >>> [round(h, 3) for h in oscillation_share(torch.tensor([0.1, 1.0, 1.9, 2.5])).tolist()]
        [0.033, 0.5, 0.967, nan]
    """
    check_momentum(momentum)
    return torch.tensor([_share(x, momentum) for x in pull.tolist()], dtype=torch.float64)


def _share(x: float, beta: float) -> float:
    if not 0 < x < 2 * (1 + beta):
        return math.nan
    first, lag_one = 1 + beta - x, 1 - x / (1 + beta)
    if abs(first**2 - 4 * beta) < _SAME_ROOTS:  # the limit of equal roots, rho(k) = (1 + c k) r^k
        one = first / 2
        return 0.5 - 2 / math.pi * (math.atan(one) + (lag_one - one) / (1 + one**2))
    root = cmath.sqrt(first**2 - 4 * beta)
    one, other = (first + root) / 2, (first - root) / 2
    weight = (lag_one - other) / root
    return 0.5 - 2 / math.pi * (weight * cmath.atan(one) + (1 - weight) * cmath.atan(other)).real
