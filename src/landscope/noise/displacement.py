"""How one relaxing coordinate moves under noise of variance 1, from independent minibatches or reshuffled epochs."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from landscope.noise.step_rule import StepRule, stationary_covariance

__all__ = ["covariance_between_epochs", "half_displacement", "over_epochs", "stationary_state", "velocity_variance"]

_SMALLEST_PULL = 1e-9
"""The smallest alpha lambda at which the covariance of the step is solved for."""


def half_displacement(
    rule: StepRule, pulls: Float[Tensor, " k"], decay: float, count: int
) -> tuple[Float[Tensor, "count k"], Float[Tensor, " k"]]:
    r"""Half of the mean squared displacement after h steps, for independent noise alpha n of variance 1.

    .. math:: U(h) = [(I - A^h) S]_{11}, \qquad U(\infty) = S_{11}

    with A the step of the optimiser and S its stationary covariance (:meth:`StepRule.covariance`).

    Args:
        rule: Step of the optimiser.
        pulls: alpha lambda; below 1e-9 it is 1e-9.
        decay: alpha w.
        count: Number of h, from 0.

    Returns:
        U(h) and U without end, float64.
    """
    kept = pulls.double().clamp(min=_SMALLEST_PULL)
    step, covariance = rule.matrices(kept, decay)[0], rule.covariance(kept, decay)
    # U(h) is the sum of the first elements of A^i (I - A) S: without a difference of near numbers.
    change = (covariance - step @ covariance)[:, :, 0][None]
    power = step
    while len(change) < count - 1:
        change = torch.cat([change, torch.einsum("kij,hkj->hki", power, change)])
        power = power @ power
    sums = change[: count - 1, :, 0].cumsum(dim=0)
    return torch.cat([sums.new_zeros(1, len(kept)), sums]), covariance[:, 0, 0]


def over_epochs(
    white: Float[Tensor, "ahead k"], count: int, steps_per_epoch: int
) -> tuple[Float[Tensor, "count k"], Float[Tensor, " k"]]:
    r"""The same for reshuffled epochs of M minibatches, whose noise sums to zero over each.

    Its covariance is that of white noise less a triangle (Kühn & Rosenow, arXiv 2306.05300), so that

    .. math:: V(h) = U(h) - U_M(h) + U_M(0), \qquad V(\infty) = U_M(0), \qquad
              U_M(h) = \sum_{|j| < M} \frac{M - |j|}{M^2}\, U(|h - j|),

    averaged over where in the epoch the displacement begins.

    Args:
        white: U(h) for h below ``count + steps_per_epoch - 1`` at least.
        count: Number of h, from 0.
        steps_per_epoch: M.

    Returns:
        V(h) and V without end, float64.
    """
    both_ways = torch.cat([white[1:steps_per_epoch].flip(0), white])
    # Two running means over an epoch weigh as a triangle does.
    smoothed = _running_mean(_running_mean(both_ways, steps_per_epoch), steps_per_epoch)
    return white[:count] - (smoothed[:count] - smoothed[0]), smoothed[0]


def velocity_variance(
    rule: StepRule, pulls: Float[Tensor, " k"], decay: float, steps_per_epoch: int | None
) -> Float[Tensor, " k"]:
    """Mean squared change in a step: 2 U(1) (:meth:`StepRule.velocity_variance`), or 2 V(1) for reshuffled epochs.

    Args:
        rule: Step of the optimiser.
        pulls: alpha lambda; below 1e-9 it is 1e-9.
        decay: alpha w.
        steps_per_epoch: M; None for independent minibatches.
    """
    if steps_per_epoch is None:
        return rule.velocity_variance(pulls, decay)
    white, _ = half_displacement(rule, pulls, decay, steps_per_epoch + 1)
    return 2 * over_epochs(white, 2, steps_per_epoch)[0][1]


def covariance_between_epochs(
    rule: StepRule, pulls: Float[Tensor, " k"], decay: float, steps_per_epoch: int
) -> Float[Tensor, "k 2 2"]:
    r"""Covariance of the state (theta, alpha b) where one reshuffled epoch of M minibatches ends and the next begins.

    .. math:: S = A^M S A^{M\top} + \sum_{j<M} A^j B B^\top A^{j\top} - \frac{q q^\top}{M}, \qquad
              q = \sum_{j<M} A^j B

    with the noise of each step entering by B (:meth:`StepRule.matrices`): the noise of an epoch sums to zero, so that
    slow directions are much nearer to the minimum here than in the middle of an epoch.

    Args:
        rule: Step of the optimiser.
        pulls: alpha lambda; below 1e-9 it is 1e-9.
        decay: alpha w.
        steps_per_epoch: M.
    """
    step, noise = rule.matrices(pulls.double().clamp(min=_SMALLEST_PULL), decay)
    impulse = noise.expand(len(step), 2)
    total, source = torch.zeros_like(impulse), torch.zeros_like(step)
    for _ in range(steps_per_epoch):
        total, source = total + impulse, source + impulse[:, :, None] * impulse[:, None]
        impulse = torch.einsum("kij,kj->ki", step, impulse)
    source = source - total[:, :, None] * total[:, None] / steps_per_epoch
    return stationary_covariance(torch.linalg.matrix_power(step, steps_per_epoch), source)


def stationary_state(
    rule: StepRule,
    pulls: Float[Tensor, " k"],
    decay: float,
    steps_per_epoch: int | None,
    draws: tuple[Float[Tensor, "*n"], Float[Tensor, "*n"]],
) -> tuple[Float[Tensor, "*n"], Float[Tensor, "*n"]]:
    """A draw of theta and alpha b; of reshuffled epochs, between two.

    Args:
        rule: Step of the optimiser.
        pulls: alpha lambda, one a direction or one for all; at 0 nothing is stationary, and theta is 0.
        decay: alpha w.
        steps_per_epoch: M; None for independent minibatches.
        draws: Two independent draws of the noise alpha n of a step.
    """
    if steps_per_epoch is None:
        covariance = rule.covariance(pulls, decay)
    else:
        covariance = covariance_between_epochs(rule, pulls, decay, steps_per_epoch)
    carried = covariance[:, 1, 1].sqrt()
    share = covariance[:, 0, 1] / carried
    reach = (covariance[:, 0, 0] - share.square()).clamp(min=0).sqrt()
    return torch.where(pulls + decay > 0, share * draws[0] + reach * draws[1], 0.0), carried * draws[0]


def _running_mean(values: Tensor, steps: int) -> Tensor:
    sums = torch.cat([values.new_zeros(1, values.shape[1]), values.cumsum(dim=0)])
    return (sums[steps:] - sums[:-steps]) / steps
