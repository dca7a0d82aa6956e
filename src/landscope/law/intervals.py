"""Intervals of exponents over blocks of time and of means over seeds, and their text in tables."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from scipy import special, stats
from torch import Tensor

from landscope.power_law import fit_power_laws_resampled

__all__ = [
    "EVERYWHERE", "Range", "exponents_without_each", "jackknife_interval", "mean_with_interval", "mean_with_spread",
    "prediction_band", "seed_interval", "with_interval", "with_interval_or_reason",
]  # fmt: skip

Range = tuple[float, float]
"""Smallest and largest value."""
EVERYWHERE: Range = (-math.inf, math.inf)
_MOST = 700.0
"""Logarithm of the largest number."""


def exponents_without_each(
    x: Float[Tensor, " n"], blocks: Float[Tensor, "b 2 n"], *, about_mean: bool = True
) -> Float[Tensor, " b"]:
    """The exponent of the variance on x without each block in turn; of the mean square where ``about_mean`` is off."""
    rest = (blocks.sum(dim=0) - blocks) / (len(blocks) - 1)
    variances = rest[:, 1] - rest[:, 0].square() if about_mean else rest[:, 1]
    return fit_power_laws_resampled(x, variances.clamp(min=torch.finfo(torch.float64).tiny))


def jackknife_interval(without: Float[Tensor, " b"], value: float, level: float = 0.95) -> tuple[float, float]:
    r"""The interval of ``value`` from its values without each block of time.

    With :math:`s_j` the value without block j, :math:`\mathrm{se}^2 = \frac{b-1}{b} \sum_j (s_j - \bar s)^2`, and
    Student's quantile with b - 1 degrees of freedom. Ten blocks are too few for percentiles of a bootstrap, which
    also lose the variance between blocks. It holds for blocks that are long against the memory of the process
    (:class:`landscope.law.time_blocks.TimeBlocks` decides that).
    """
    count = len(without)
    stderr = float(((count - 1) / count * (without - without.mean()).square().sum()).sqrt())
    reach = float(stats.t.ppf(0.5 + level / 2, count - 1)) * stderr
    return value - reach, value + reach


def seed_interval(values: Sequence[float], level: float = 0.95) -> tuple[float, float]:
    """Student's interval of the mean of independent runs; (NaN, NaN) for fewer than two.

    Example:
        >>> [round(x, 3) for x in seed_interval([1.0, 2.0, 3.0])]
        [-0.484, 4.484]
    """
    return _student(values, level, spread_of_one=False)


def prediction_band(values: Sequence[float], level: float = 0.95, *, possible: Range = EVERYWHERE) -> Range:
    r"""The band that holds one further draw from the same law as ``values``; (NaN, NaN) for fewer than two.

    Student's band of the values themselves where every number is possible. A quantity with edges has the band of

    .. math:: \ln\frac{x - a}{b - x} \quad\text{or}\quad \ln(x - a) \quad\text{or}\quad -\ln(b - x),

    carried back, so that no end lies beyond what is possible. A draw on an edge has no such logarithm: the band is then
    that of the values themselves, cut at the edges.

    Args:
        values: The draws.
        level: Probability that one further draw falls inside.
        possible: Smallest and largest possible value, a and b.

    Returns:
        Lower and upper end.

    Example:
        >>> [round(x, 3) for x in prediction_band([1.0, 2.0, 3.0])]
        [-2.968, 6.968]
        >>> [round(x, 3) for x in prediction_band([0.5, 0.6, 0.7], possible=(0.0, 1.0))]
        [0.156, 0.926]
    """
    low, high = possible
    inside = all(low < value < high for value in values)
    if len(values) < 2 or (math.isinf(low) and math.isinf(high)) or not inside:
        ends = _student(values, level, spread_of_one=True)
        return ends if math.isnan(ends[0]) else (max(ends[0], low), min(ends[1], high))
    on_line = [
        (0.0 if math.isinf(low) else math.log(x - low)) - (0.0 if math.isinf(high) else math.log(high - x))
        for x in values
    ]
    ends = _student(on_line, level, spread_of_one=True)
    return _back(ends[0], possible), _back(ends[1], possible)


def _back(end: float, possible: Range) -> float:
    """A number from its logarithm, by the edges that it has."""
    low, high = possible
    if math.isinf(high):
        return low + math.exp(min(end, _MOST))
    if math.isinf(low):
        return high - math.exp(min(-end, _MOST))
    return low + (high - low) * float(special.expit(end))


def _student(values: Sequence[float], level: float, *, spread_of_one: bool) -> tuple[float, float]:
    count = len(values)
    if count < 2:
        return (float("nan"), float("nan"))
    scale = float(np.std(values, ddof=1)) * math.sqrt(1 / count + (1 if spread_of_one else 0))
    reach = float(stats.t.ppf(0.5 + level / 2, count - 1)) * scale
    mean = float(np.mean(values))
    return (mean - reach, mean + reach)


def with_interval(value: float, interval: tuple[float, float] = (math.nan, math.nan), form: str = ".2f") -> str:
    """A number with its interval as text; a dash if it was not measured, no interval if there is none.

    Args:
        value: The number; NaN if it was not measured.
        interval: Lower and upper end; NaN if there is no interval.
        form: Format of the three numbers.

    Example:
        >>> with_interval(4.1, (3.8, 4.4), ".1f"), with_interval(4.1), with_interval(math.nan)
        ('4.1 [3.8, 4.4]', '4.10', '–')
    """
    if math.isnan(value):
        return "–"
    low, high = interval
    return f"{value:{form}}" + ("" if math.isnan(low) else f" [{low:{form}}, {high:{form}}]")


def with_interval_or_reason(
    value: float, interval: tuple[float, float], reason: str, reach: float, form: str = ".2f"
) -> str:
    """A number with its interval as text, or with why it has none and how far another run may move it.

    Args:
        value: The number; NaN if it was not measured.
        interval: Lower and upper end; NaN if there is no interval.
        reason: Why there is no interval.
        reach: How far another run may move it with 95 %; NaN if unknown.
        form: Format of the numbers.

    Example:
        >>> with_interval_or_reason(0.1, (0.0, 0.2), "", 0.1)
        '0.10 [0.00, 0.20]'
        >>> with_interval_or_reason(0.1, (math.nan, math.nan), "too few rows", 0.5)
        '0.10 (no interval: too few rows; another run may move it by 0.50)'
    """
    text = with_interval(value, interval, form)
    if math.isnan(value) or not math.isnan(interval[0]):
        return text
    known = math.isfinite(reach)
    moved = f"another run may move it by {reach:{form}}" if known else "how far another run may move it is not known"
    return f"{text} (no interval: {reason}; {moved})" if reason else f"{text} (no interval; {moved})"


def mean_with_interval(values: Sequence[float], form: str = ".2f") -> str:
    """The mean over independent runs with Student's 95 % interval as text; runs with NaN are left out.

    Example:
        >>> mean_with_interval([1.0, 2.0, 3.0]), mean_with_interval([2.0, math.nan]), mean_with_interval([])
        ('2.00 [-0.48, 4.48]', '2.00', '–')
    """
    finite = [value for value in values if not math.isnan(value)]
    return with_interval(sum(finite) / len(finite) if finite else math.nan, seed_interval(finite), form)


def mean_with_spread(values: Sequence[float]) -> str:
    """The mean over independent runs with their standard deviation as text.

    Example:
        >>> mean_with_spread([1.0, 2.0, 3.0])
        '2.00 ± 1.00'
    """
    return f"{statistics.fmean(values):.2f} ± {statistics.stdev(values):.2f}"
