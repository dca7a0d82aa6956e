"""A relaxing walk from its stationary distribution on, with given noise."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from landscope.noise.displacement import stationary_state, velocity_variance
from landscope.noise.step_rule import StepRule

__all__ = ["stationary_walk"]

_SAME_RATE = 0.01
"""Learning rates within this share of each other have noise of one scale, which hardly depends on the rate."""


def stationary_walk(
    noise: Float[Tensor, "steps n"],
    draws: Float[Tensor, "2 n"],
    curvature: Float[Tensor, " k"],
    rates: Float[Tensor, " steps"],
    rule: StepRule,
    steps_per_epoch: int | None,
) -> Float[Tensor, "rows n"]:
    """Positions in a bowl whose velocity variance is that of the noise.

    The noise of reshuffled epochs is to begin with an epoch, as the stationary distribution depends on where in the
    epoch the walk is.

    Args:
        noise: Noise of each step; where ``steps_per_epoch`` is given, less its mean over each epoch.
        draws: Two independent draws of noise without that, for the start.
        curvature: lambda of each coordinate, or one for all.
        rates: alpha of each step.
        rule: Step of the optimiser.
        steps_per_epoch: M, where the noise sums to zero over epochs.
    """
    kinds, kind_of_step = _kinds_of_rate(rates)
    scales = [
        velocity_variance(rule, rate * curvature, rate * rule.decoupled_decay, steps_per_epoch).rsqrt()
        for rate in kinds
    ]
    theta, buffer = _start(draws, curvature, float(rates[0]), rule, steps_per_epoch)
    rows = torch.empty(len(noise) + 1, noise.shape[1], dtype=torch.float64)
    rows[0] = theta
    direct, through = (1.0, rule.momentum) if rule.nesterov else (0.0, 1.0)
    share_in, gradient = rule.gradient_share if rule.momentum else 1.0, torch.empty_like(theta)
    steps = zip(
        rates.tolist(), kind_of_step.tolist(), noise.unbind(), rows.unbind()[:-1], rows.unbind()[1:], strict=True
    )
    for rate, kind, impulse, here, there in steps:
        torch.mul(here, curvature, out=gradient)
        gradient.addcmul_(scales[kind], impulse, value=1 / rate)
        if rule.momentum:
            buffer.mul_(rule.momentum).add_(gradient, alpha=share_in)
        torch.sub(here, buffer if rule.momentum else gradient, alpha=rate * through, out=there)
        if direct:
            there.sub_(gradient, alpha=rate * direct)
        if rule.decoupled_decay:
            there.sub_(here, alpha=rate * rule.decoupled_decay)
    return rows


def _start(
    draws: Tensor, curvature: Tensor, rate: float, rule: StepRule, steps_per_epoch: int | None
) -> tuple[Tensor, Tensor]:
    """Position and momentum of the walk, whose velocity variance is that of the draws."""
    pull, decay = rate * curvature, rate * rule.decoupled_decay
    kicks = draws * velocity_variance(rule, pull, decay, steps_per_epoch).rsqrt()
    theta, carried = stationary_state(rule, pull, decay, steps_per_epoch, (kicks[0], kicks[1]))
    return theta, carried / rate


def _kinds_of_rate(rates: Tensor) -> tuple[list[float], Tensor]:
    """Learning rates that differ by more than a share, and which of them each step has."""
    near = torch.round(rates.log() / _SAME_RATE)
    _, kind_of_step = torch.unique(near, return_inverse=True)
    sums, counts = torch.zeros(int(kind_of_step.max()) + 1).double(), torch.bincount(kind_of_step)
    return (sums.index_add_(0, kind_of_step, rates) / counts).tolist(), kind_of_step
