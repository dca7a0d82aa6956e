"""Eq. 5: whether the variance of flat directions is one of the run, or of the window that shows it."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from scipy import stats
from torch import Tensor

from landscope.claims.tolerance import exponent_tolerance
from landscope.claims.verdict import Claim, Control, Measurement, joined
from landscope.law.window_growth import Growth, flattest_quarter, growth_exponents
from landscope.noise.window_time import window_time

__all__ = ["CLAIMS", "growth_measurements"]

_NAME = "a stationary process with this curvature, in the same windows,"

CLAIMS = (
    Claim(
        "flat_modes_stationary",
        "Eq. 5",
        "The variance along flat modes does not grow with the window (exponent of sigma^2 on the"
        " window's length, flattest quarter).",
        "a property of the window",
        (-exponent_tolerance(1.0), exponent_tolerance(1.0)),
        "no growth within the tolerance of the exponent 1 of free diffusion",
        "window lengths of one epoch to all that was recorded; a stationary process with this curvature in the same"
        " windows",
    ),
)


def growth_measurements(
    growth: Growth, rates: Float[Tensor, " k"] | None, *, batches_per_epoch: int, reshuffled: bool
) -> dict[str, Measurement]:
    r"""Measure how the variance of flat directions grows with the window, beside what a stationary process shows.

    One path holds all windows, so that the exponent has no interval. The exponents of the single directions of the
    flattest quarter say how far another run may be: of n of them the median lies between those of the ranks r and
    n + 1 - r, with r the quantile of 2.5 % of n tosses of a coin. Directions count as independent in that; fewer than
    six tell nothing.

    The variance of a stationary direction grows with the window too, until that is many relaxation times long:

    .. math:: \sigma^2(T) = \kappa(r T)\, \sigma^2(\infty), \qquad
              \log_{10}\frac{\kappa(x)}{\kappa(x/10)} = 0.80, 0.71, 0.62 \text{ at } x = 2.5, 4, 6

    with r its rate of relaxation and independent minibatches (:func:`landscope.noise.window_time` for both orders).
    Where that process has no exponent of 0 either, and the run has no other than it, the windows are too short.

    Args:
        growth: Variances in windows of several lengths.
        rates: Rate of relaxation of each direction in a step, alpha lambda for plain SGD; None where it is not known.
        batches_per_epoch: Steps in an epoch.
        reshuffled: Whether the noise of the minibatches sums to zero over an epoch.
    """
    claim, reach, expected, shown = CLAIMS[0], _reach_of_growth(growth), math.nan, math.nan
    if rates is not None:
        expected, shown = _stationary(growth, rates, batches_per_epoch, batches_per_epoch if reshuffled else None)
    grows = not claim.accepted[0] <= expected <= claim.accepted[1]
    same = math.isnan(reach) or abs(growth.flat_exponent - expected) <= reach
    known = not math.isnan(expected)
    short = (
        "these windows are too short: the longest shows a flat direction "
        f"{100 * shown:.2g} % of its stationary variance, so a stationary run grows as well"
    )
    control = Control(
        _NAME, (expected, expected), "differ" if grows else "agree", unidentified=short if grows and same else ""
    )
    note = joined(
        f"the sharpest quarter has {growth.sharp_exponent:.2f}; 1 is free diffusion; lengths of "
        f"{growth.epochs[0]:.0f} to {growth.epochs[-1]:.0f} epochs",
        "" if known else "what a stationary run shows in these windows is not known, so nothing is decided",
    )
    return {
        "flat_modes_stationary": Measurement(
            growth.flat_exponent,
            controls=(control,) if known else (),
            note=note,
            no_interval="its windows are parts of one path",
            reach=reach if known else math.nan,
        )
    }


def _stationary(
    growth: Growth, rates: Tensor, batches_per_epoch: int, steps_per_epoch: int | None
) -> tuple[float, float]:
    """The exponent of the flattest directions in a stationary run, and the share of the variance of the median one.

    Directions that nothing pulls back have no stationary run, and are left out.
    """
    flat = flattest_quarter(growth.width)
    pulls = rates.double()[flat]
    pulls = pulls[(pulls > 0) & (pulls < 2)]
    if len(growth.epochs) < 2 or not len(pulls):
        return math.nan, math.nan
    ends = torch.cat([growth.epochs * batches_per_epoch, torch.tensor([math.inf], dtype=torch.float64)])
    times = window_time(pulls, ends.clamp(min=2), learning_rate=1.0, steps_per_epoch=steps_per_epoch)
    slopes = growth_exponents(growth.epochs, times[:-1])
    return float(slopes.median()), float((times[-2] / times[-1]).median())


def _reach_of_growth(growth: Growth) -> float:
    """How far the median of the exponents of the flattest quarter may be off; NaN for fewer than six directions."""
    if len(growth.epochs) < 2:
        return math.nan
    flat = growth_exponents(growth.epochs, growth.variance)[flattest_quarter(growth.width)].sort().values
    rank = int(stats.binom.ppf(0.025, len(flat), 0.5))
    if rank < 1:
        return math.nan
    low, high = float(flat[rank - 1]), float(flat[len(flat) - rank])
    return max(growth.flat_exponent - low, high - growth.flat_exponent)
