"""The exponents psi = psi_D + psi_tau of one set of directions on one window (paper, Eqs. 8, 12, 13; Figs. 2D, 3B)."""

from __future__ import annotations

import dataclasses
import math

import torch
from jaxtyping import Bool, Float, Int
from scipy import stats
from torch import Tensor

from landscope.landscape.flatness import Flatness
from landscope.law.intervals import exponent_interval, exponents_without_each, jackknife_interval
from landscope.law.variance_flatness import variance_flatness_law
from landscope.noise.mode_statistics import ModeStatistics
from landscope.power_law import PowerLaw, fit_power_law
from landscope.results import Result, stamp

__all__ = ["Exponents", "fit_exponents", "modes_for_share", "spectrum_exponent", "spread_ranks"]

_NOTHING = (math.nan, math.nan)
_EXPONENTS = ("psi", "psi_D", "psi_tau")


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Exponents(
    Result,
    kind="exponents",
    dims=dict.fromkeys(("variance", "velocity_variance", "width", "bracketed", "used"), ("mode",)),
):
    """How variance, noise strength and memory go with flatness, for one set of directions on one window.

    NaN where fewer than three modes can be fitted. Intervals come from blocks of time, at 95 %.

    Args:
        name: Which directions, measured on which window.
        psi: sigma_i^2 ~ F_i^(-psi).
        psi_interval: From blocks of time.
        psi_D: D_i ~ F_i^(-psi_D).
        psi_D_interval: Likewise.
        psi_tau: tau_i = sigma_i^2/D_i ~ F_i^(-psi_tau); equals psi - psi_D identically.
        psi_tau_interval: Likewise.
        gamma: sigma_i^2 ~ i^(-gamma) over the ranks asked for.
        gamma_interval: Likewise.
        modes_for_90_percent: Rank n at which modes 2 to n hold 90 % of the variance without mode 1.
        variance: sigma_i^2, ``[k]``.
        velocity_variance: D_i.
        width: F_i; NaN where it was not measured or not within reach.
        bracketed: Whether it was.
        used: Modes fitted.
        total_variance: Sum over all N directions.
        prefactor: sigma^2 at F = 1.
        residual: Root mean square residual of ln sigma^2.
        rank_correlation: Spearman correlation of flatness with rank over the fitted modes.
        mode_range: First and last mode considered.
        flatness_range: Smallest and largest F fitted.
        n_used: Modes fitted.
        n_censored: Modes in the range left out: no flatness within reach, or, in the equilibrium control, not
            equilibrated.
        n_still: Modes in the range left out: no variance.
    """

    name: str
    psi: float
    psi_interval: tuple[float, float]
    psi_D: float
    psi_D_interval: tuple[float, float]
    psi_tau: float
    psi_tau_interval: tuple[float, float]
    gamma: float
    gamma_interval: tuple[float, float]
    modes_for_90_percent: int
    variance: Float[Tensor, " k"]
    velocity_variance: Float[Tensor, " k"]
    width: Float[Tensor, " k"]
    bracketed: Bool[Tensor, " k"]
    used: Bool[Tensor, " k"]
    total_variance: float
    prefactor: float
    residual: float
    rank_correlation: float
    mode_range: tuple[int, int]
    flatness_range: tuple[float, float]
    n_used: int
    n_censored: int
    n_still: int

    @property
    def correlation_time(self) -> Float[Tensor, " k"]:
        """tau_i = sigma_i^2/D_i, in rows; NaN for a mode that does not move."""
        return self.variance / torch.where(self.velocity_variance > 0, self.velocity_variance, math.nan)


def fit_exponents(
    name: str,
    motion: ModeStatistics,
    flatness: Flatness,
    mode_range: tuple[int, int] = (2, 500),
    *,
    ranks: Int[Tensor, " m"] | None = None,
    spectrum_ranks: tuple[int, int] = (20, 200),
) -> Exponents:
    r"""Fit how variance, noise strength and memory go with flatness.

    .. math:: \sigma_i^2 \sim F_i^{-\psi}, \qquad D_i \sim F_i^{-\psi_D}, \qquad
              \tau_i = \sigma_i^2/D_i \sim F_i^{-\psi_\tau}

    Least squares of logarithms over the same modes, each with equal weight, so that psi = psi_D + psi_tau is an
    identity and no evidence (paper, Eqs. 8, 12 and 13).

    Args:
        name: What the row of a table should be called.
        motion: Along the directions, from :func:`landscope.noise.mode_statistics`.
        flatness: Along the same directions, from the first on, or along some of them.
        mode_range: First and last mode to fit, counted from 1.
        ranks: Which of them the flatness was measured along, rising, counted from 1; the first ones by default. In the
            fit each counts for all the ranks that it is nearest to, on a logarithmic scale.
        spectrum_ranks: First and last rank of the fit of the spectrum.

    Returns:
        The exponents.

    Raises:
        InputError: If the flatness is of more directions than the motion, or the range is empty.

    Example:
        >>> import torch
        >>> from landscope.landscape import flatness
        >>> from landscope.directions.principal import principal_modes
        >>> from landscope.noise.mode_statistics import mode_statistics
        >>> from landscope.synthetic import InverseGaussian, sgd_in_bowl
        >>> from landscope.trajectory import Trajectory
        >>> curvature = torch.logspace(0, 1, 8).double()
        >>> path = sgd_in_bowl(curvature, 4000, learning_rate=0.1, noise_variance=1e-4, seed=0)
        >>> window = Trajectory.of(path)
        >>> modes = principal_modes(window)
        >>> F = flatness(InverseGaussian(curvature), torch.zeros(8).double(), modes.directions)
        >>> found = fit_exponents("in-sample", mode_statistics(modes, window), F, (1, 8))
        >>> abs(found.psi - found.psi_D - found.psi_tau) < 1e-9, found.psi < -1
        (True, True)
    """
    ranks = torch.arange(1, len(flatness.width) + 1) if ranks is None else ranks
    rows = ranks - 1
    variance, strength = motion.variance[rows], motion.velocity_variance[rows]
    # One set of modes for all three: those that move in both senses.
    both = torch.where(strength > 0, variance, 0.0)
    law = variance_flatness_law(both, flatness, mode_range, ranks=ranks)
    used = law.used
    # A rank that was not measured is stood for by the nearest one: the fit is over all modes, whatever was measured.
    fitted = used.nonzero()[:, 0].repeat_interleave(_stands_for(ranks)[used])
    found, intervals = dict.fromkeys(_EXPONENTS, math.nan), dict.fromkeys(_EXPONENTS, _NOTHING)
    prefactor, residual = law.prefactor, law.residual
    if law.n_used >= 3:
        fit, found, intervals = _fits(flatness.width[fitted], motion, rows[fitted])
        prefactor, residual = fit.prefactor, fit.residual
    gamma, gamma_interval = spectrum_exponent(motion.variance, motion.moments, spectrum_ranks)
    rank = ranks[used]

    def at_ranks(values: Tensor, fill: float | bool) -> Tensor:
        return torch.full((len(motion.variance),), fill, dtype=values.dtype).index_copy(0, rows, values)

    return Exponents(
        name=name,
        psi=found["psi"],
        psi_interval=intervals["psi"],
        psi_D=found["psi_D"],
        psi_D_interval=intervals["psi_D"],
        psi_tau=found["psi_tau"],
        psi_tau_interval=intervals["psi_tau"],
        gamma=gamma,
        gamma_interval=gamma_interval,
        modes_for_90_percent=modes_for_share(motion.variance, motion.total_variance, 0.9),
        variance=motion.variance,
        velocity_variance=motion.velocity_variance,
        width=at_ranks(flatness.width, math.nan),
        bracketed=at_ranks(flatness.bracketed, False),
        used=at_ranks(used, False),
        total_variance=motion.total_variance,
        prefactor=prefactor,
        residual=residual,
        rank_correlation=float(stats.spearmanr(rank.numpy(), flatness.width[used].numpy()).statistic)
        if len(rank) > 2
        else math.nan,
        mode_range=law.mode_range,
        flatness_range=law.flatness_range,
        n_used=law.n_used,
        n_censored=law.n_censored,
        n_still=law.n_still,
        provenance=stamp(mode_range=mode_range, spectrum_ranks=spectrum_ranks),
    )


def _fits(
    width: Float[Tensor, " n"], motion: ModeStatistics, rows: Int[Tensor, " n"]
) -> tuple[PowerLaw, dict[str, float], dict[str, tuple[float, float]]]:
    """The law of the variance, the three exponents, and their intervals, over some rows of the motion."""
    fit = fit_power_law(width, motion.variance[rows])
    found = {"psi": -fit.exponent, "psi_D": -fit_power_law(width, motion.velocity_variance[rows]).exponent}
    without = {
        "psi": -exponents_without_each(width, motion.moments[:, :, rows]),
        "psi_D": -exponents_without_each(width, motion.velocity_moments[:, :, rows], about_mean=False),
    }
    found["psi_tau"], without["psi_tau"] = found["psi"] - found["psi_D"], without["psi"] - without["psi_D"]
    return fit, found, {key: jackknife_interval(without[key], found[key]) for key in _EXPONENTS}


def _stands_for(ranks: Int[Tensor, " m"]) -> Int[Tensor, " m"]:
    """How many ranks, from the first to the last, are nearest to each of these, on a logarithmic scale."""
    every = torch.arange(int(ranks[0]), int(ranks[-1]) + 1, dtype=torch.float64)
    middles = (ranks[1:].double() * ranks[:-1]).sqrt()
    return torch.bincount(torch.searchsorted(middles, every), minlength=len(ranks))


def spread_ranks(last: int, count: int | None = None, first: int = 1) -> Int[Tensor, " m"]:
    """Ranks from ``first`` to ``last``: all of them, or about ``count``, log-spaced.

    Example:
        >>> spread_ranks(100, 8).tolist()
        [1, 2, 4, 7, 14, 27, 52, 100]
    """
    if count is None or count >= last - first + 1:
        return torch.arange(first, last + 1)
    points = count
    while True:  # dense at the low end, where several points round to one rank
        ranks = torch.logspace(math.log10(first), math.log10(last), points, dtype=torch.float64).round().long().unique()
        if len(ranks) >= count:
            return ranks
        points += count - len(ranks)


def modes_for_share(variance: Float[Tensor, " k"], total: float, share: float) -> int:
    """Rank n at which modes 2 to n hold ``share`` of the variance without mode 1; k + 1 where k modes do not."""
    rest = variance[1:].cumsum(0) / (total - float(variance[0]))
    return int((rest < share).sum()) + 2


def spectrum_exponent(
    variance: Float[Tensor, " k"], moments: Float[Tensor, "b 2 k"], ranks: tuple[int, int]
) -> tuple[float, tuple[float, float]]:
    """The exponent gamma of sigma_i^2 ~ i^(-gamma) with its interval; NaN where fewer than three ranks move."""
    rank = torch.arange(1, len(variance) + 1, dtype=torch.float64)
    moving = variance > 1e-12 * variance[0]  # above the rounding of the weights
    used = (rank >= ranks[0]) & (rank <= ranks[1]) & moving
    if int(used.sum()) < 3:
        return math.nan, _NOTHING
    exponent = fit_power_law(rank[used], variance[used]).exponent
    low, high = exponent_interval(rank[used], moments[:, :, used], exponent)
    return -exponent, (-high, -low)
