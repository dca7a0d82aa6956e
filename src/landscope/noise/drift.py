"""The two phases of learning, and the slow drift of the second phase (paper, SI sections S1 and S2)."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
from jaxtyping import Float
from scipy import stats
from torch import Tensor

from landscope._checks import check_number, check_positive
from landscope.errors import InputError
from landscope.results import Result, stamp

__all__ = ["DriftLaw", "Phases", "drift_law", "learning_phases"]

_MIN_EPOCHS = 6
_MIN_POINTS = 4


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Phases(Result, kind="learning_phases"):
    """The end of the fast phase of learning.

    Args:
        break_epoch: Last epoch of the first line in the best fit of two lines to ln L against the epoch; 0 for fewer
            than six epochs, with NaN rates.
        rate_before: Slope of ln L per epoch in the fast phase.
        rate_after: Slope of ln L per epoch after the fast phase.
        zero_error_epoch: First epoch with a training error of zero; None if there is none.
        two_phases: Whether both lines fall, and the second slope is less than half of the first.
    """

    break_epoch: int
    rate_before: float
    rate_after: float
    zero_error_epoch: int | None
    two_phases: bool


def learning_phases(train_loss: Float[Tensor, " epochs"], train_error: Float[Tensor, " epochs"]) -> Phases:
    r"""Find the fast phase and the exploration phase of learning from the losses and errors of each epoch.

    The function fits two straight lines to ln L against the epoch; the break minimises the sum of squared residuals.

    Args:
        train_loss: Loss on the training set after each epoch, positive.
        train_error: Fraction of wrong answers on the training set after each epoch.

    Returns:
        The break and the rates.

    Raises:
        InputError: If the lengths differ, or a loss is not positive.

    Example:
        >>> import torch
        >>> epochs = torch.arange(1.0, 41)
        >>> loss = torch.exp(-torch.where(epochs < 10, 0.5 * epochs, 4.5 + 0.05 * epochs))
        >>> phases = learning_phases(loss, (epochs < 12).double())
        >>> phases.break_epoch in (9, 10), phases.zero_error_epoch, phases.two_phases
        (True, 12, True)
    """
    count = len(train_loss)
    if len(train_error) != count:
        raise InputError(
            expected="a loss and an error for each epoch",
            got=f"{count} and {len(train_error)}",
            hint="Pass one of each.",
        )
    if not bool((train_loss > 0).all()):
        raise InputError(
            expected="positive losses",
            got=f"{float(train_loss.min())}",
            hint="Remove the other points: ln L needs positive losses.",
        )
    zero = (train_error == 0).nonzero().flatten()
    zero_error_epoch = int(zero[0]) + 1 if len(zero) else None
    if count < _MIN_EPOCHS:
        return Phases(
            break_epoch=0,
            rate_before=math.nan,
            rate_after=math.nan,
            zero_error_epoch=zero_error_epoch,
            two_phases=False,
        )
    epoch, log_loss = np.arange(1, count + 1.0), np.log(train_loss.double().numpy())
    fits = [
        (split, _line(epoch[:split], log_loss[:split]), _line(epoch[split:], log_loss[split:]))
        for split in range(3, count - 2)
    ]
    split, before, after = min(fits, key=lambda fit: fit[1][1] + fit[2][1])
    return Phases(
        break_epoch=split,
        rate_before=before[0],
        rate_after=after[0],
        zero_error_epoch=zero_error_epoch,
        two_phases=before[0] < 0 and before[0] / 2 < after[0] <= 0,
        provenance=stamp(),
    )


def _line(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Slope and sum of squared residuals of a straight line."""
    fit = stats.linregress(x, y)
    return float(fit.slope), float(np.square(y - fit.intercept - fit.slope * x).sum())


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class DriftLaw(Result, kind="drift_law", dims={"steps": ("point",), "loss": ("point",)}):
    """The decrease of the loss over a window, compared with the law of a drift along one mode.

    Args:
        steps: Optimisation steps, ``[points]``.
        loss: Loss L at each step.
        slope: Slope of 1/L against steps.
        slope_interval: 95 % interval from the scatter about the line. It is too narrow, because residuals of a slow
            process are correlated.
        r_squared: Fraction of the variance of 1/L that the line explains; 1 for the law.
        r_squared_exponential: Fraction of the variance of ln L that a line explains, for a plain exponential decrease.
        predicted_slope: Slope alpha beta^2 of a model whose trained weights all move along p_1.
        ratio: Ratio slope/predicted_slope; above 1 if other layers or other directions lower the loss too.
        beta: Slope of ln L along p_1 at w0.
    """

    steps: Float[Tensor, " points"]
    loss: Float[Tensor, " points"]
    slope: float
    slope_interval: tuple[float, float]
    r_squared: float
    r_squared_exponential: float
    predicted_slope: float
    ratio: float
    beta: float


def drift_law(
    steps: Float[Tensor, " points"], loss: Float[Tensor, " points"], *, beta: float, learning_rate: float
) -> DriftLaw:
    r"""Compare the loss over time with a drift along the first mode (paper, S2).

    With :math:`L = L_0 e^{\beta\theta_1}` and gradient descent along p_1 alone,

    .. math:: \frac1{L(t)} = \frac1{L_0} + \alpha\beta^2 t.

    Args:
        steps: Optimisation steps.
        loss: Positive loss of the whole training set at each step.
        beta: Slope of ln L along p_1, which equals E[g_1] of :func:`landscope.noise.log_hessian`.
        learning_rate: Learning rate alpha.

    Returns:
        The fit and the prediction; NaN for fewer than four points.

    Raises:
        InputError: If the lengths differ, or a loss or the learning rate is not positive.

    Example:
        >>> import torch
        >>> t = torch.arange(0.0, 100, 10).double()
        >>> law = drift_law(t, 1 / (50 + 0.1 * 0.5**2 * t), beta=0.5, learning_rate=0.1)
        >>> round(law.ratio, 6), round(law.r_squared, 6)
        (1.0, 1.0)
    """
    check_positive("learning_rate", learning_rate)
    check_number("beta", beta)
    if len(steps) != len(loss):
        raise InputError(expected="a loss for each step", got=f"{len(steps)} and {len(loss)}", hint="Pass one of each.")
    if not bool((loss > 0).all()):
        raise InputError(
            expected="positive losses",
            got=f"{float(loss.min())}",
            hint="Remove the other points: 1/L needs positive losses.",
        )
    if len(steps) < _MIN_POINTS:
        return DriftLaw(
            steps=steps,
            loss=loss,
            slope=math.nan,
            slope_interval=(math.nan, math.nan),
            r_squared=math.nan,
            r_squared_exponential=math.nan,
            predicted_slope=learning_rate * beta**2,
            ratio=math.nan,
            beta=beta,
        )
    x, y = steps.double().numpy(), loss.double().numpy()
    fit = stats.linregress(x, 1 / y)
    reach = float(stats.t.ppf(0.975, len(x) - 2)) * float(fit.stderr)
    slope, predicted = float(fit.slope), learning_rate * beta**2
    return DriftLaw(
        steps=steps.double(),
        loss=loss.double(),
        slope=slope,
        slope_interval=(slope - reach, slope + reach),
        r_squared=float(fit.rvalue) ** 2,
        r_squared_exponential=float(stats.linregress(x, np.log(y)).rvalue) ** 2,
        predicted_slope=predicted,
        ratio=slope / predicted if predicted > 0 else math.nan,
        beta=beta,
        provenance=stamp(learning_rate=learning_rate),
    )
