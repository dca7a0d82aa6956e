"""What a stationary, relaxing direction shows in a window of finite length."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from landscope._checks import check_momentum, check_positive
from landscope.errors import InputError

__all__ = ["stationary_variance", "window_factor"]

_SERIES_BELOW = 1e-2


def window_factor(relaxations: Float[Tensor, "*k"]) -> Float[Tensor, "*k"]:
    r"""The share of its stationary variance that a relaxing direction shows in a centred window.

    .. math:: \kappa(x) = 1 - \frac2x \left(1 - \frac{1 - e^{-x}}{x}\right), \qquad x = \alpha\lambda T

    It is the mean variance, about its own mean, of an Ornstein-Uhlenbeck process over x relaxation times: x/3 for short
    windows, in which the direction diffuses freely, and 1 for long ones.

    Args:
        relaxations: Length of the window in relaxation times, x >= 0.

    Returns:
        kappa, between 0 and 1, float64.

    Raises:
        InputError: If a length is negative.

    Example:
        >>> import torch
        >>> [round(float(k), 4) for k in window_factor(torch.tensor([0.0, 0.06, 2.0, 1e9]))]
        [0.0, 0.0197, 0.4323, 1.0]
    """
    x = torch.as_tensor(relaxations, dtype=torch.float64)
    if bool((x < 0).any()):
        raise InputError(
            expected="lengths of at least 0", got=f"{float(x.min()):.3g}", hint="Directions that repel have no limit."
        )
    safe = x.clamp(min=_SERIES_BELOW)
    exact = 1 - 2 / safe * (1 + torch.expm1(-safe) / safe)
    # The differences above lose their digits for small x.
    series = x / 3 - x**2 / 12 + x**3 / 60 - x**4 / 360
    return torch.where(x < _SERIES_BELOW, series, exact)


def stationary_variance(
    velocity_variance: Float[Tensor, " k"],
    curvature: Float[Tensor, " k"],
    *,
    learning_rate: float,
    momentum: float = 0.0,
) -> Float[Tensor, " k"]:
    r"""Variance in a window without end of SGD in a bowl, from its velocity variance.

    .. math:: \sigma_\infty^2 = \frac{D\,(1 + \beta)}{2\alpha\lambda}

    exact for independent gradient noise, any momentum beta and any stable alpha lambda.

    Args:
        velocity_variance: D_i.
        curvature: lambda_i.
        learning_rate: alpha.
        momentum: beta.

    Returns:
        The variance, float64; infinite where the curvature is not positive.

    Raises:
        InputError: If the learning rate is not positive.

    Example:
        >>> import torch
        >>> stationary_variance(torch.tensor([1.0, 1.0]), torch.tensor([5.0, 0.0]), learning_rate=0.1).tolist()
        [1.0, inf]
    """
    check_momentum(momentum)
    pull = check_positive("learning_rate", learning_rate) * curvature.double()
    return torch.where(pull > 0, velocity_variance.double() * (1 + momentum) / (2 * pull), math.inf)
