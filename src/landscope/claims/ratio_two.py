"""Text on Fig. 2: flatness may be read at twice the minimal loss as well as at e times."""

from __future__ import annotations

import math

import torch

from landscope.claims.verdict import Claim, Control, Measurement, fresh_control
from landscope.landscape.flatness import Flatness
from landscope.law.exponents import fit_exponents
from landscope.noise.mode_statistics import ModeStatistics
from landscope.rank_correlation import rank_correlation

__all__ = ["CLAIMS", "ratio_measurements"]

CLAIMS = (
    Claim(
        "psi_at_ratio_two",
        "text on Fig. 2",
        "The exponent does not depend on the level at which flatness is read (psi at twice the loss minus that at e"
        " times).",
        "without affecting the results",
        (-0.5, 0.5),
        "the printed 4 would stay a 4",
        "the same modes and variances, both levels; the widths of the smaller level in random order",
    ),
    Claim(
        "order_at_ratio_two",
        "text on Fig. 2",
        "Neither does the order of the modes by flatness (rank correlation of the flatness at both levels).",
        "without affecting the results",
        (0.95, 1.0),
        "a twentieth off at most",
        "all modes with a flatness at both levels; two flatnesses that have nothing in common",
        possible=(-1.0, 1.0),
    ),
)


def ratio_measurements(
    widths: Flatness,
    smaller: Flatness,
    window: ModeStatistics,
    fresh: ModeStatistics | None,
    fit_modes: tuple[int, int],
) -> dict[str, Measurement]:
    r"""Measure what changes where flatness is read at a smaller multiple of the loss at w0.

    Where ln L is quadratic all widths shrink by :math:`\sqrt{\ln r'/\ln r}`, where L is, by
    :math:`\sqrt{(r' - 1)/(r - 1)}`, and nothing else changes.

    Both claims are of no change, and what may fake that is a relation too weak to change. The null has the widths of
    the smaller level in random order: over all orders the slope of y on x has the mean 0 and the variance

    .. math:: \frac{\sum_i (y_i - \bar y)^2}{(n - 1) \sum_i (x_i - \bar x)^2},

    so that psi changes by minus psi. Where that counts as no change too, the claim says nothing. The rank correlation
    of n pairs has the mean 0 and the variance 1/(n - 1).

    Args:
        widths: Flatness of the modes at the level of the study.
        smaller: Flatness of the first modes at the smaller one.
        window: Statistics of the window along the modes.
        fresh: Statistics of the fresh data; None if there are none.
        fit_modes: First and last mode of the fits.
    """
    count = min(len(widths.width), len(smaller.width))
    both = torch.isfinite(widths.width[:count]) & torch.isfinite(smaller.width[:count])
    first, second = widths.width[:count][both], smaller.width[:count][both]
    likeness = rank_correlation(first, second)
    ratio = float((second / first).median()) if len(first) else math.nan
    bowl = math.sqrt((smaller.ratio - 1) / (widths.ratio - 1))
    gaussian = math.sqrt(math.log(smaller.ratio) / math.log(widths.ratio))
    shrunk = (
        f"the median width shrinks to {ratio:.3f}; to {gaussian:.3f} where ln L is quadratic, {bowl:.3f} where L is"
    )

    def change(motion: ModeStatistics) -> tuple[float, float]:
        fits = [fit_exponents("", motion, each, fit_modes).psi for each in (smaller, widths)]
        return fits[0] - fits[1], fits[0]

    difference, psi = change(window)
    reach, own = _reach_of_random_order(smaller, window, fit_modes), psi - difference
    low, high = -reach - own, reach - own
    accepted = CLAIMS[0].accepted
    unchanged = low <= accepted[1] and high >= accepted[0]
    shuffled = Control(
        "widths of the smaller level in random order",
        (-math.inf, math.inf) if unchanged else (low, high),
        "differ",
        f"change psi by {low:.2g} to {high:.2g}" if unchanged else "",
    )
    chance = 1.96 / math.sqrt(len(first) - 1) if len(first) > 2 else math.nan
    unrelated = Control("two flatnesses that have nothing in common", (-chance, chance), "differ")
    later = math.nan if fresh is None else change(fresh)[0]
    return {
        "psi_at_ratio_two": Measurement(
            difference,
            controls=(shuffled, fresh_control(later)),
            note=f"psi is {psi:.2f} at {smaller.ratio:.3g} L0; {shrunk}",
        ),
        "order_at_ratio_two": Measurement(likeness, controls=(unrelated,), note=f"{len(first)} modes"),
    }


def _reach_of_random_order(widths: Flatness, motion: ModeStatistics, fit_modes: tuple[int, int]) -> float:
    """How far from 0 psi is with the widths in random order, in 95 % of all orders."""
    row = fit_exponents("", motion, widths, fit_modes)
    if int(row.used.sum()) < 3:
        return math.nan
    x, y = row.width[row.used].double().log(), row.variance[row.used].double().log()
    spread = (y - y.mean()).square().sum() / ((len(x) - 1) * (x - x.mean()).square().sum())
    return 1.96 * math.sqrt(float(spread))
