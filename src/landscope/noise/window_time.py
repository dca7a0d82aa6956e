"""The correlation time sigma^2/D of a relaxing direction in a finite window, with either kind of minibatches."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from landscope._checks import check_count, check_momentum, check_positive
from landscope.errors import InputError

__all__ = ["running_mean", "window_time"]

_COLUMNS = 32
_SMALL_PULL = 0.5


def window_time(
    curvature: Float[Tensor, " k"],
    lengths: Float[Tensor, " n"],
    *,
    learning_rate: float,
    momentum: float = 0.0,
    steps_per_epoch: int | None = None,
) -> Float[Tensor, "n k"]:
    r"""Expected variance of SGD in a centred window of T steps over its velocity variance, :math:`\sigma^2(T)/D`.

    With independent minibatches it is :math:`\kappa(\alpha\lambda T)/(2\alpha\lambda)`
    (:func:`landscope.noise.window_factor`). In reshuffled epochs of M minibatches the noise is white noise without its
    mean over the epoch, so that with :math:`U(h) = (1 - a^h)/(1 - a^2)`, :math:`a = 1 - \alpha\lambda`,

    .. math:: \frac{\sigma^2(T)}{s^2} = \frac{2}{T^2} \sum_{h=1}^{T-1} (T-h)\, [U(h) - U_M(h) + U_M(0)], \qquad
              U_M(h) = \sum_{|j| < M} \frac{M - |j|}{M^2}\, U(|h - j|),

    averaged over where in the epoch the window begins; without end it is :math:`s^2 U_M(0)`. D is
    :math:`2 s^2 [U(1) - U_M(1) + U_M(0)]`. Momentum b makes alpha alpha/(1 - b) and multiplies the time by
    (1 + b)/(1 - b) for a pull that is slow against 1/(1 - b). The cost is k times the longest T.

    Args:
        curvature: lambda_i of at least 0, the curvature that pulls the weights (weight decay included).
        lengths: Lengths T of windows in steps; infinity for a window without end.
        learning_rate: alpha.
        momentum: Heavy-ball momentum beta.
        steps_per_epoch: M, where epochs are reshuffled; None for independent minibatches.

    Returns:
        The times in steps, float64; infinite where a direction without pull has no end.

    Raises:
        InputError: If a curvature is negative or does not fit the learning rate, or a length is below 2.

    Example:
        >>> import torch
        >>> flat, ends = torch.zeros(1), torch.tensor([60.0, 6000.0])
        >>> [round(float(t), 1) for t in window_time(flat, ends, learning_rate=0.1)[:, 0]]
        [10.0, 1000.0]
        >>> [round(float(t), 1) for t in window_time(flat, ends, learning_rate=0.1, steps_per_epoch=60)[:, 0]]
        [6.1, 10.1]
    """
    check_positive("learning_rate", learning_rate)
    check_momentum(momentum)
    if steps_per_epoch is not None:
        check_count("steps_per_epoch", steps_per_epoch, minimum=2)
    pull = learning_rate * curvature.double() / (1 - momentum)
    if not bool(((pull >= 0) & (pull < 2)).all()):
        raise InputError(
            expected="curvatures with 0 <= learning rate x curvature < 2",
            got=f"{float(pull.min()):.3g} to {float(pull.max()):.3g}",
            hint="Leave out directions of negative curvature.",
        )
    ends = lengths.double()
    if bool((ends < 2).any()):
        raise InputError(expected="windows of at least 2 steps", got=f"{float(ends.min()):g}", hint="Lengthen them.")
    longest = int(ends[torch.isfinite(ends)].max()) if bool(torch.isfinite(ends).any()) else 2
    parts = [_times(part, ends, longest, momentum, steps_per_epoch) for part in pull.split(_COLUMNS)]
    return torch.cat(parts, dim=1) if parts else pull.new_zeros(len(ends), 0)


def _times(pull: Tensor, ends: Tensor, longest: int, momentum: float, steps_per_epoch: int | None) -> Tensor:
    lag = torch.arange(longest, dtype=torch.float64)
    half = _half_displacement(pull, lag)
    endless = 1 / (pull * (2 - pull))
    first = _half_displacement(pull, torch.ones(1, dtype=torch.float64))[0]
    if steps_per_epoch is not None:
        smoothed = _over_epoch(pull, max(longest, 2), steps_per_epoch)
        half = half - (smoothed[:longest] - smoothed[0])
        endless = smoothed[0]
        # Momentum spreads one gradient over many steps: the epoch is then left out of D, of which it is the share 1/M.
        first = first - (smoothed[1] - smoothed[0]) if momentum == 0 else first
    # The white noise of unit velocity variance: D = 2 U(1) s^2, times (1 - b)/(1 + b) for the slow motion alone.
    strength = (1 + momentum) / (1 - momentum) / (2 * first)
    sums, moments = half.cumsum(dim=0), (lag[:, None] * half).cumsum(dim=0)
    rows = [
        endless if math.isinf(end) else 2 / end**2 * (end * sums[int(end) - 1] - moments[int(end) - 1])
        for end in ends.tolist()
    ]
    return torch.stack(rows) * strength


def _half_displacement(pull: Tensor, lag: Tensor) -> Tensor:
    """U(h) of unit noise, half the mean squared displacement after h steps, ``[lags, k]``; h/2 without a pull."""
    safe = torch.where(pull > 0, pull, 1.0)
    slow = -torch.expm1(lag[:, None] * torch.log1p(-safe.clamp(max=_SMALL_PULL)))
    fast = 1 - (1 - safe) ** lag[:, None]
    return torch.where(pull > 0, torch.where(safe < _SMALL_PULL, slow, fast) / (safe * (2 - safe)), lag[:, None] / 2)


def _over_epoch(pull: Tensor, count: int, steps: int) -> Tensor:
    """U_M(h) for h below ``count``: two running means over an epoch are the triangular one."""
    lag = torch.arange(-(steps - 1), count + steps - 1, dtype=torch.float64).abs()
    return running_mean(running_mean(_half_displacement(pull, lag), steps), steps)


def running_mean(values: Float[Tensor, "n k"], steps: int) -> Float[Tensor, "m k"]:
    """Means over a number of rows that follow each other; twice, they weigh as a triangle does."""
    sums = torch.cat([values.new_zeros(1, values.shape[1]), values.cumsum(dim=0)])
    return (sums[steps:] - sums[:-steps]) / steps
