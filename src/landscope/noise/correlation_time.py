"""The correlation time from the velocity correlations (paper, Eq. 13), and what velocities without memory give."""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float
from scipy import optimize, special, stats
from torch import Tensor, arange, float64

from landscope._checks import check_count
from landscope.errors import InputError

__all__ = ["correlation_time_from_velocities", "white_time_ratio_band"]

_TERMS = 20
"""Terms of the series of the distribution; the first left out is below exp(-100) wherever it is evaluated."""
_LARGEST = 5.0
"""The statistic lies beyond this with a probability below 1e-11."""


def correlation_time_from_velocities(
    autocorrelation: Float[Tensor, "lags k"], n_rows: int, *, centred: bool = True
) -> Float[Tensor, " k"]:
    r"""The correlation time tau_i that velocity correlations give in a window of T rows (paper, Eq. 13, section S5).

    With c(l) the normalised autocorrelation of the velocity at lag l, a stationary velocity moves the weight in m rows
    by a mean square of :math:`D (m + 2 \sum_{l<m} (m - l)\, c(l))`. The variance about the mean of the window is a sum
    over all pairs of rows,

    .. math:: \tau = \frac{1}{T^2} \left( w(T) + 2 \sum_{l \ge 1} c(l)\, w(T - l) \right), \qquad
              w(n) = \frac{n (n^2 - 1)}{6}

    The paper measures theta from the start of the window instead: :math:`w(n) = T\, n (n - 1)/2`. Lags that are not
    given count as zero.

    Args:
        autocorrelation: c(l) at lags 0, 1, ... in rows, such as
            :class:`landscope.noise.VelocityStatistics`.
        n_rows: Rows T of the window.
        centred: Whether the variance is about the mean of the window, as that of principal modes is.

    Returns:
        tau in rows.

    Raises:
        InputError: If there are as many lags as rows or more.

    Example:
        Velocities without memory: T/6 about the mean of the window, T/2 from its start.

        >>> import torch
        >>> white = torch.tensor([[1.0], [0.0]]).double()
        >>> [round(float(correlation_time_from_velocities(white, 600, centred=c)[0])) for c in (True, False)]
        [100, 300]
    """
    check_count("n_rows", n_rows, minimum=2)
    if len(autocorrelation) > n_rows - 1:
        raise InputError(
            expected=f"fewer lags than the {n_rows} rows of the window",
            got=f"{len(autocorrelation)}",
            hint="Measure the autocorrelation up to a smaller max_lag.",
        )
    rest = n_rows - arange(len(autocorrelation), dtype=float64)
    weight = rest * (rest.square() - 1) / 6 if centred else n_rows * rest * (rest - 1) / 2
    weight[1:] *= 2
    return (weight[:, None] * autocorrelation.double()).sum(dim=0) / n_rows**2


def white_time_ratio_band(n_modes: int, level: float = 0.95) -> tuple[float, float]:
    r"""Band of the median over modes of tau/(T/6), for velocities without memory along directions fixed beforehand.

    In a long centred window, sigma^2 of such a mode is :math:`D T \sum_k Z_k^2/(\pi k)^2` with independent normal Z_k:
    the statistic of Cramer and von Mises, with mean 1/6. The median of n independent ones lies between its quantiles
    at the quantiles of a beta distribution, as every order statistic does.

    Args:
        n_modes: Number n of modes.
        level: Probability of the band.

    Returns:
        Lower and upper end.

    Raises:
        InputError: If there is no mode.

    Example:
        >>> [round(end, 2) for end in white_time_ratio_band(1)]
        [0.18, 3.48]
        >>> [round(end, 2) for end in white_time_ratio_band(399)]
        [0.65, 0.79]
    """
    check_count("n_modes", n_modes, minimum=1)
    half = (n_modes + 1) / 2
    low, high = stats.beta.ppf([(1 - level) / 2, (1 + level) / 2], half, half)
    return 6 * _quantile(float(low)), 6 * _quantile(float(high))


def _quantile(probability: float) -> float:
    return float(optimize.brentq(lambda x: _cumulative(x) - probability, 1e-3, _LARGEST))


def _cumulative(x: float) -> float:
    """The distribution of sum Z_k^2/(pi k)^2, by the series of Anderson and Darling (1952, Eq. 4.35)."""
    j = np.arange(_TERMS, dtype=float)
    q = (4 * j + 1) ** 2 / (16 * x)
    factor = np.exp(special.gammaln(j + 0.5) - special.gammaln(j + 1)) * np.sqrt(4 * j + 1)
    return float((factor * special.kve(0.25, q) * np.exp(-2 * q)).sum()) / (math.pi**1.5 * math.sqrt(x))
