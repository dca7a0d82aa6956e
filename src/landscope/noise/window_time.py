"""The correlation time sigma^2/D of a relaxing direction in a finite window, with either kind of minibatches."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from landscope._checks import check_count, check_momentum, check_positive
from landscope.errors import InputError
from landscope.noise.displacement import half_displacement, over_epochs
from landscope.noise.step_rule import StepRule

__all__ = ["window_time"]

_COLUMNS = 32


def window_time(
    curvature: Float[Tensor, " k"],
    lengths: Float[Tensor, " n"],
    *,
    learning_rate: float,
    momentum: float = 0.0,
    steps_per_epoch: int | None = None,
) -> Float[Tensor, "n k"]:
    r"""Expected variance of SGD in a centred window of T steps over its velocity variance, :math:`\sigma^2(T)/D`.

    With U(h) half of the mean squared displacement after h steps (``landscope.noise.displacement``; V(h) instead
    where epochs of M minibatches are reshuffled),

    .. math:: D = 2 U(1), \qquad \sigma^2(T) = \frac{2}{T^2} \sum_{h=1}^{T-1} (T-h)\, U(h),

    averaged over where in the epoch the window begins. With independent minibatches the ratio is
    :math:`\kappa(\alpha\lambda T)/(2\alpha\lambda)` for plain SGD (:func:`landscope.noise.window_factor`), and
    :math:`(1+\beta)/(2\alpha\lambda)` without end for heavy-ball momentum. The cost is k times the longest T.

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
    rule, pull = StepRule(momentum=momentum), learning_rate * curvature.double()
    if not bool(((pull >= 0) & (pull < 2 * (1 + momentum))).all()):
        raise InputError(
            expected=f"curvatures with 0 <= learning rate x curvature < {2 * (1 + momentum):g}",
            got=f"{float(pull.min()):.3g} to {float(pull.max()):.3g}",
            hint="Leave out directions of negative curvature.",
        )
    ends = lengths.double()
    if bool((ends < 2).any()):
        raise InputError(expected="windows of at least 2 steps", got=f"{float(ends.min()):g}", hint="Lengthen them.")
    longest = int(ends[torch.isfinite(ends)].max()) if bool(torch.isfinite(ends).any()) else 2
    parts = [_times(rule, part, ends, longest, steps_per_epoch) for part in pull.split(_COLUMNS)]
    return torch.cat(parts, dim=1) if parts else pull.new_zeros(len(ends), 0)


def _times(rule: StepRule, pull: Tensor, ends: Tensor, longest: int, steps_per_epoch: int | None) -> Tensor:
    ahead = longest if steps_per_epoch is None else longest + steps_per_epoch - 1
    half, endless = half_displacement(rule, pull, 0.0, ahead)
    if steps_per_epoch is None:
        endless = torch.where(pull > 0, endless, math.inf)
    else:
        half, endless = over_epochs(half, longest, steps_per_epoch)
    lag = torch.arange(longest, dtype=torch.float64)
    sums, moments = half.cumsum(dim=0), (lag[:, None] * half).cumsum(dim=0)
    rows = [
        endless if math.isinf(end) else 2 / end**2 * (end * sums[int(end) - 1] - moments[int(end) - 1])
        for end in ends.tolist()
    ]
    return torch.stack(rows) / (2 * half[1])
