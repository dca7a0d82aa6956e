"""How fast each direction cools during a training, and where its cooling changes pace (paper, Fig. 5D and Fig. 6)."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

__all__ = ["PowerLawBreak", "cooling_rates", "power_law_break"]

_FEWEST = 3
"""Points of each line; two lie on any line."""
_PARAMETERS = 5
"""Of two lines with a break: two slopes, two heights, and its place."""

PowerLawBreak = tuple[float, bool]
"""Time of a break, and whether two power laws describe the values better than one."""


def cooling_rates(
    steps: Float[Tensor, " c"], temperature: Float[Tensor, "c k"], loss: Float[Tensor, " c"] | None = None
) -> Float[Tensor, " k"]:
    r"""The rate r_i at which each direction cools, :math:`T_i \sim t^{-r_i}`, or against the loss instead of the time.

    Least squares of ln T_i on ln t. With a loss, :math:`T_i \sim L^{r_i}`, which does not depend on how fast the
    training goes: r_i = 1 in every direction is a temperature that only follows the loss.

    Args:
        steps: Steps t of the checkpoints, positive.
        temperature: T_i at each checkpoint.
        loss: Loss at each checkpoint, to measure against it.

    Returns:
        The rates; NaN for fewer than three checkpoints, and where a temperature is not positive.

    Example:
        >>> t = torch.tensor([1.0, 2.0, 4.0, 8.0]).double()
        >>> cooling_rates(t, torch.stack([t**-1, t**-2], dim=1)).tolist()
        [1.0, 2.0]
    """
    if len(steps) < _FEWEST:
        return torch.full((temperature.shape[1],), math.nan, dtype=torch.float64)
    x = -torch.log(steps.double()) if loss is None else torch.log(loss.double())
    y = torch.log(torch.where(temperature > 0, temperature, math.nan).double())
    centred = x - x.mean()
    return (centred[:, None] * y).sum(dim=0) / centred.square().sum()


def power_law_break(steps: Float[Tensor, " c"], values: Float[Tensor, " c"]) -> PowerLawBreak:
    r"""The time at which a falling quantity goes from one power law of time to another.

    Two straight lines are fitted to ln value against ln t, with at least three points each; the break is the geometric
    mean of the two times between which they part, at the smallest sum of squared residuals S_2. It counts where the
    two lines have the smaller Bayesian information criterion, in which a free place of a break counts as two parameters
    (Zhang & Siegmund, Biometrics 63, 2007), and few points by the degrees of freedom that they leave:
    :math:`(n - 5) \ln(S_1/S_2) > 4 \ln n`. The rule was set after looking at simulations. One power law with
    independent errors has a break that counts in 2 % of cases at most; errors that last over several checkpoints make
    many more (:mod:`landscope.claims.cooling` has the figures).

    Args:
        steps: Times, rising and positive.
        values: Values, positive.

    Returns:
        Time of the break, and whether it counts; NaN for fewer than six points.

    Example:
        >>> t = torch.logspace(0, 4, 41).double()
        >>> time, counts = power_law_break(t, torch.where(t < 90, t**-0.1, 90**1.4 * t**-1.5))
        >>> round(time, -1), counts
        (90.0, True)
        >>> power_law_break(t, t**-1 * torch.exp(0.1 * torch.sin(40 * t)))[1]
        False
    """
    count = len(steps)
    if count < 2 * _FEWEST or not bool((values > 0).all()):
        return math.nan, False
    x, y = torch.log(steps.double()), torch.log(values.double())
    splits = range(_FEWEST, count - _FEWEST + 1)
    two = torch.tensor([_residual(x[:n], y[:n]) + _residual(x[n:], y[n:]) for n in splits])
    best = int(two.argmin())
    # Rounding leaves residuals of 1e-15 of the values, and their ratio would say nothing.
    least = count * (1e-12 * float(y.abs().max())) ** 2 + torch.finfo(torch.float64).tiny
    gain = (count - _PARAMETERS) * math.log(max(_residual(x, y), least) / max(float(two[best]), least))
    n = splits[best]
    return math.exp(float(x[n - 1] + x[n]) / 2), gain > 4 * math.log(count)


def _residual(x: Tensor, y: Tensor) -> float:
    """Sum of squared residuals of a straight line."""
    centred = x - x.mean()
    slope = (centred * y).sum() / centred.square().sum()
    return float((y - y.mean() - slope * centred).square().sum())
