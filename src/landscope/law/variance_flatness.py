"""The variance-flatness law (paper, Eq. 8): one exponent, with its interval, from given modes."""

from __future__ import annotations

import dataclasses
import math

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from landscope._checks import check_count
from landscope.errors import InputError
from landscope.landscape.flatness import Flatness
from landscope.law.intervals import exponent_interval
from landscope.power_law import fit_power_law
from landscope.results import Result, stamp

__all__ = ["VarianceFlatnessLaw", "variance_flatness_law"]

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
        blocks: Moments of each block of time along each mode, from :func:`landscope.noise.block_variances`.
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
