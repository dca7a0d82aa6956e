"""What the order of the minibatches makes of sigma^2/D: reshuffled epochs against independent draws, for any step."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from landscope._checks import check_count
from landscope.noise.step_rule import StepRule
from landscope.noise.window_time import running_mean

__all__ = ["order_factors"]

_COLUMNS = 32
_SMALLEST_PULL = 1e-9
"""The smallest alpha lambda at which the covariance of the step is solved for."""


def order_factors(
    rule: StepRule,
    pulls: Float[Tensor, " k"],
    decay: float = 0.0,
    *,
    n_rows: int,
    spacing: int = 1,
    steps_per_epoch: int,
) -> tuple[Float[Tensor, " k"], Float[Tensor, " k"]]:
    r"""Sigma^2/D with reshuffled epochs over that with independent minibatches, without end and in a window.

    With independent noise of variance 1 half of the mean squared displacement after h steps is
    :math:`U(h) = [(I - A^h) S]_{11}` (:meth:`StepRule.covariance`). The noise of an epoch of M minibatches sums to
    zero, so that its covariance is that of white noise less a triangle (Kühn & Rosenow, arXiv 2306.05300), and

    .. math:: V(h) = U(h) - U_M(h) + U_M(0), \qquad U_M(h) = \sum_{|j| < M} \frac{M - |j|}{M^2}\, U(|h - j|).

    The variance without end is V of infinity, U_M(0); D is 2 V(m) for rows m steps apart; and the variance in a window
    of n rows is :math:`2 n^{-2} \sum_{j<n} (n - j) V(j m)`, averaged over where in the epoch it begins. For plain SGD
    and single steps these are :func:`landscope.noise.window_time`.

    Args:
        rule: Step of the optimiser.
        pulls: alpha lambda.
        decay: alpha w.
        n_rows: Rows of the window.
        spacing: m, the steps between two rows.
        steps_per_epoch: M.

    Returns:
        The factor in a window without end, and the factor in the window, float64.

    Example:
        >>> flat = torch.tensor([1e-4, 1.0])
        >>> without_end, _ = order_factors(StepRule(), flat, n_rows=1000, steps_per_epoch=60)
        >>> [round(float(factor), 3) for factor in without_end]
        [0.002, 0.984]
    """
    check_count("steps_per_epoch", steps_per_epoch, minimum=2)
    check_count("n_rows", n_rows, minimum=2)
    check_count("spacing", spacing)
    kept = pulls.double().clamp(min=_SMALLEST_PULL)
    parts = [_factors(rule, part, decay, n_rows, spacing, steps_per_epoch) for part in kept.split(_COLUMNS)]
    endless, within = zip(*parts, strict=True)
    return torch.cat(endless), torch.cat(within)


def _factors(
    rule: StepRule, pulls: Tensor, decay: float, n_rows: int, spacing: int, steps_per_epoch: int
) -> tuple[Tensor, Tensor]:
    ahead = (n_rows - 1) * spacing + 1
    white, white_endless = _half_displacement(rule, pulls, decay, ahead + steps_per_epoch - 1)
    both_ways = torch.cat([white[1:steps_per_epoch].flip(0), white])
    smoothed = running_mean(running_mean(both_ways, steps_per_epoch), steps_per_epoch)
    rows = white[:ahead:spacing]
    own = rows - (smoothed[:ahead:spacing] - smoothed[0])
    weights = n_rows - torch.arange(n_rows, dtype=torch.float64)
    strength = own[1] / rows[1]
    return smoothed[0] / white_endless / strength, (weights @ own) / (weights @ rows) / strength


def _half_displacement(rule: StepRule, pulls: Tensor, decay: float, count: int) -> tuple[Tensor, Tensor]:
    """U(h) for h below ``count``, ``[count, k]``, and U without end, ``[k]``, for noise alpha n of variance 1."""
    step, covariance = rule.matrices(pulls, decay)[0], rule.covariance(pulls, decay)
    # U(h) is the sum of the first elements of A^i (I - A) S: without a difference of near numbers.
    change = (covariance - step @ covariance)[:, :, 0][None]
    power = step
    while len(change) < count - 1:
        change = torch.cat([change, torch.einsum("kij,hkj->hki", power, change)])
        power = power @ power
    sums = change[: count - 1, :, 0].cumsum(dim=0)
    return torch.cat([sums.new_zeros(1, len(pulls)), sums]), covariance[:, 0, 0]
