"""The variance-flatness law (paper, Eq. 8): one exponent, with its interval, from given modes."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from scipy import stats
from torch import Tensor

from landscope._checks import check_count
from landscope.errors import InputError
from landscope.landscape import Flatness
from landscope.results import Result, stamp
from landscope.scaling import fit_power_law, fit_power_laws_resampled

__all__ = [
    "VarianceFlatnessLaw",
    "exponent_interval",
    "exponents_without_each",
    "jackknife_interval",
    "prediction_band",
    "seed_interval",
    "variance_flatness_law",
]

_MIN_MODES = 3


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class VarianceFlatnessLaw(
    Result,
    kind="variance_flatness_law",
    dims={"used": ("mode",)},
):
    """A fitted law sigma_i^2 = prefactor F_i^(-psi).

    Args:
        psi: The exponent.
        confidence_interval: From blocks of time, at ``confidence_level``; (NaN, NaN) where no blocks were given.
        confidence_level: Probability the interval is meant to hold.
        prefactor: sigma^2 at F = 1.
        residual: Root mean square residual of ln sigma^2.
        mode_range: First and last mode considered, counted from 1.
        used: Which of all modes were fitted, ``[k]``.
        n_used: Their number.
        n_censored: Modes in the range without a flatness within reach, left out.
        n_still: Modes in the range without variance, left out.
        flatness_range: Smallest and largest F fitted.
    """

    psi: float
    confidence_interval: tuple[float, float]
    confidence_level: float
    prefactor: float
    residual: float
    mode_range: tuple[int, int]
    used: Bool[Tensor, " k"]
    n_used: int
    n_censored: int
    n_still: int
    flatness_range: tuple[float, float]


def variance_flatness_law(
    variance: Float[Tensor, " k"],
    flatness: Flatness,
    mode_range: tuple[int, int] = (2, 500),
    *,
    ranks: Int[Tensor, " k"] | None = None,
    blocks: Float[Tensor, "b m k"] | None = None,
    confidence_level: float = 0.95,
) -> VarianceFlatnessLaw:
    r"""Fit :math:`\sigma_i^2 \sim F_i^{-\psi}` (paper, Eq. 8) over a range of modes.

    Least squares of ln sigma^2 on ln F, each mode with equal weight. Modes whose flatness is censored or whose variance
    is zero are counted and left out. The interval comes from blocks of time (a jackknife that leaves out one
    block after another, with modes and flatness held fixed), never from the scatter of modes about the line: modes are
    not independent. It does not hold the spread over seeds, and says too little where a mode is slower than a block.

    Args:
        variance: sigma_i^2 of the modes, from mode 1 on; in-sample or of another window.
        flatness: F_i of the same modes.
        mode_range: First and last mode to fit, counted from 1; mode 1 drifts and is left out by default.
        ranks: Which modes these are, counted from 1; 1 to k by default.
        blocks: Moments of each block of time along each mode, from :func:`landscope.block_variances`.
        confidence_level: Probability the interval is meant to hold.

    Returns:
        The law; where fewer than three modes can be fitted its numbers are NaN and ``n_used`` says so.

    Raises:
        InputError: If lengths differ or the range is empty.

    Example:
        >>> import torch
        >>> from landscope.landscape import flatness
        >>> from landscope.synthetic import InverseGaussian
        >>> well = InverseGaussian(torch.tensor([8.0, 4.0, 2.0, 1.0]))
        >>> F = flatness(well, torch.zeros(4), torch.eye(4), rtol=1e-6)
        >>> round(variance_flatness_law(F.width**-4, F, (1, 4)).psi, 4)
        4.0
    """
    if len(variance) != len(flatness.width):
        raise InputError(
            expected="a variance and a flatness for each mode",
            got=f"{len(variance)} and {len(flatness.width)}",
            hint="Measure the flatness of the same modes.",
        )
    rank = torch.arange(1, len(variance) + 1) if ranks is None else ranks
    highest = int(rank.max()) if len(rank) else 0
    first, last = mode_range[0], min(mode_range[1], highest)
    check_count("first mode of mode_range", first, minimum=1)
    if last < first:
        raise InputError(
            expected=f"a mode_range within 1 to {highest}", got=f"{mode_range}", hint="Measure more modes."
        )
    in_range = (rank >= first) & (rank <= last)
    moving = variance > 0
    used = in_range & flatness.bracketed & moving
    interval = (math.nan, math.nan)
    fit = fit_power_law(flatness.width[used], variance[used]) if int(used.sum()) >= _MIN_MODES else None
    if fit is not None and blocks is not None:
        low, high = exponent_interval(flatness.width[used], blocks[:, :, used], fit.exponent, confidence_level)
        interval = (-high, -low)
    return VarianceFlatnessLaw(
        psi=-fit.exponent if fit else math.nan,
        confidence_interval=interval,
        confidence_level=confidence_level,
        prefactor=fit.prefactor if fit else math.nan,
        residual=fit.residual if fit else math.nan,
        mode_range=(first, last),
        used=used,
        n_used=int(used.sum()),
        n_censored=int((in_range & ~flatness.bracketed).sum()),
        n_still=int((in_range & ~moving).sum()),
        flatness_range=fit.fit_range if fit else (math.nan, math.nan),
        provenance=stamp(mode_range=mode_range, confidence_level=confidence_level),
    )


def exponent_interval(
    x: Float[Tensor, " n"], blocks: Float[Tensor, "b 2 n"], exponent: float, level: float = 0.95
) -> tuple[float, float]:
    r"""Interval of the exponent of the variance on x, by the jackknife over blocks of time.

    With :math:`s_j` the exponent without block j, :math:`\mathrm{se}^2 = \frac{b-1}{b} \sum_j (s_j - \bar s)^2`, and
    Student's quantile with b - 1 degrees of freedom. Ten blocks are too few for percentiles of a bootstrap, which
    also lose the variance between blocks.
    """
    return jackknife_interval(exponents_without_each(x, blocks), exponent, level)


def exponents_without_each(
    x: Float[Tensor, " n"], blocks: Float[Tensor, "b 2 n"], *, about_mean: bool = True
) -> Float[Tensor, " b"]:
    """The exponent of the variance on x without each block in turn; of the mean square where ``about_mean`` is off."""
    rest = (blocks.sum(dim=0) - blocks) / (len(blocks) - 1)
    variances = rest[:, 1] - rest[:, 0].square() if about_mean else rest[:, 1]
    return fit_power_laws_resampled(x, variances.clamp(min=torch.finfo(torch.float64).tiny))


def jackknife_interval(without: Float[Tensor, " b"], value: float, level: float = 0.95) -> tuple[float, float]:
    """The interval of ``value`` from its values without each block."""
    count = len(without)
    stderr = float(((count - 1) / count * (without - without.mean()).square().sum()).sqrt())
    reach = float(stats.t.ppf(0.5 + level / 2, count - 1)) * stderr
    return value - reach, value + reach


def seed_interval(values: list[float], level: float = 0.95) -> tuple[float, float]:
    """Student's interval of the mean of independent runs; (NaN, NaN) for fewer than two.

    Example:
        >>> [round(x, 3) for x in seed_interval([1.0, 2.0, 3.0])]
        [-0.484, 4.484]
    """
    return _student(values, level, spread_of_one=False)


def prediction_band(values: list[float], level: float = 0.95) -> tuple[float, float]:
    """The band that holds one further draw from the same law as ``values``; (NaN, NaN) for fewer than two.

    Example:
        >>> [round(x, 3) for x in prediction_band([1.0, 2.0, 3.0])]
        [-2.968, 6.968]
    """
    return _student(values, level, spread_of_one=True)


def _student(values: list[float], level: float, *, spread_of_one: bool) -> tuple[float, float]:
    count = len(values)
    if count < 2:
        return (float("nan"), float("nan"))
    scale = float(np.std(values, ddof=1)) * math.sqrt(1 / count + (1 if spread_of_one else 0))
    reach = float(stats.t.ppf(0.5 + level / 2, count - 1)) * scale
    mean = float(np.mean(values))
    return (mean - reach, mean + reach)
