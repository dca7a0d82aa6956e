"""Statistics and flatness with given numbers, for fits whose answer is known."""

import math

import torch

from landscope.directions import moving
from landscope.landscape import Flatness
from landscope.noise import ModeStatistics


def statistics_of(variance, velocity_variance=None):
    """Mode statistics with given variances, the same in every block of time."""
    strength = variance.sqrt() if velocity_variance is None else velocity_variance
    zero, still = torch.zeros(10, len(variance), dtype=variance.dtype), torch.zeros(len(variance))
    return ModeStatistics(
        variance=variance, velocity_variance=strength, moves=moving(variance, strength, still),
        drift_share=variance, cosine_content=variance,
        integrated_time=torch.ones(len(variance)).double(), velocity_time=torch.ones(len(variance)).double(),
        chosen_here=False,
        moments=torch.stack([zero, variance.expand(10, -1)], dim=1).double(),
        velocity_moments=torch.stack([zero, strength.expand(10, -1)], dim=1).double(),
        total_variance=float(variance.sum()), n_steps=1000,
    )  # fmt: skip


def flatness_of(width):
    """A flatness with given widths, symmetric, all within reach."""
    count = len(width)
    return Flatness(
        left=-width / 2, right=width / 2, width=width, bracketed=torch.ones(count).bool(),
        evaluations=torch.ones(count).long(), loss0=1.0, ratio=math.e, max_displacement=torch.ones(count).double(),
    )  # fmt: skip
