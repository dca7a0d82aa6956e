"""The exponents psi = psi_D + psi_tau of one set of directions on one window (paper, Eqs. 8, 12, 13; Figs. 2D, 3B)."""

from __future__ import annotations

import dataclasses
import math

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from landscope._checks import check_count
from landscope.directions.directions import Directions
from landscope.directions.principal import principal_modes
from landscope.directions.ranks import log_spaced_ranks
from landscope.errors import InputError
from landscope.landscape.flatness import Flatness, flatness
from landscope.law.spectrum import modes_for_share, ranks_like_the_paper, spectrum_exponent
from landscope.law.time_blocks import NO_INTERVAL, TimeBlocks, TimeInterval, not_fitted, reason_of, reasons
from landscope.noise.mode_statistics import ModeStatistics, mode_statistics
from landscope.power_law import PowerLaw, fit_power_law
from landscope.protocols import LossLandscape, ProgressCallback
from landscope.rank_correlation import rank_correlation
from landscope.results import Result, stamp
from landscope.trajectory import Trajectory

__all__ = ["Exponents", "fit_exponents", "measure_exponents", "variance_flatness"]

_EXPONENTS = ("psi", "psi_D", "psi_tau")
_FEWEST_MODES = 3


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Exponents(
    Result,
    kind="exponents",
    dims=dict.fromkeys(("variance", "velocity_variance", "moves", "width", "bracketed", "used"), ("mode",)),
):
    """How variance, noise strength and memory depend on flatness, for one set of directions on one window.

    Exponents are NaN where fewer than three modes can be fitted. Intervals are 95 % intervals from blocks of time, for
    the exponent that the same directions show in a window without end; (NaN, NaN) where the window is too short for
    one (:class:`landscope.law.time_blocks.TimeBlocks`).

    Args:
        name: Name of the directions and of the window.
        psi: sigma_i^2 ~ F_i^(-psi).
        psi_interval: Its interval.
        psi_D: D_i ~ F_i^(-psi_D).
        psi_D_interval: Its interval.
        psi_tau: tau_i = sigma_i^2/D_i ~ F_i^(-psi_tau); equals psi - psi_D identically.
        psi_tau_interval: Its interval.
        gamma: sigma_i^2 ~ i^(-gamma) over the ranks asked for.
        gamma_interval: Its interval.
        interval_reason: Why an exponent has no interval; empty where all have one.
        reach: How far another run of the same length may move each exponent with 95 %, also where it has no interval
            (:class:`landscope.law.time_blocks.TimeInterval`): psi, psi_D, psi_tau, gamma.
        modes_for_90_percent: Rank n at which modes 2 to n hold 90 % of the variance without mode 1; k + 1 where k modes
            hold less.
        variance: sigma_i^2, ``[k]``.
        velocity_variance: D_i.
        moves: Whether the window moved along the direction by more than rounding (:func:`landscope.directions.moving`).
        width: F_i; NaN where it was not measured or not within reach.
        bracketed: Whether the flatness was measured and lies within reach.
        used: Modes fitted.
        total_variance: Sum over all N directions.
        prefactor: sigma^2 at F = 1.
        residual: Root mean square residual of ln sigma^2.
        rank_correlation: Spearman correlation of flatness with rank over the fitted modes.
        mode_range: First and last mode considered.
        flatness_range: Smallest and largest F fitted.
        n_used: Modes fitted.
        n_censored: Moving modes in the range left out: no flatness within reach, or, in the equilibrium control, no
            stationary state at this learning rate.
        n_still: Modes in the range left out because the window did not move along them.
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
    interval_reason: str
    reach: tuple[float, float, float, float]
    modes_for_90_percent: int
    variance: Float[Tensor, " k"]
    velocity_variance: Float[Tensor, " k"]
    moves: Bool[Tensor, " k"]
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

    def reach_of(self, key: str) -> float:
        """How far another run of the same length may move the exponent ``key``: psi, psi_D, psi_tau or gamma; 95 %."""
        return self.reach[(*_EXPONENTS, "gamma").index(key)]

    def reason_of(self, key: str) -> str:
        """Why the exponent ``key`` has no interval; empty where it has one."""
        return reason_of(self.interval_reason, key)

    @property
    def modes_for_90_percent_is_bound(self) -> bool:
        """Whether all modes together hold less than 90 %: it takes at least ``modes_for_90_percent``, maybe more."""
        return self.modes_for_90_percent > len(self.variance)

    @property
    def correlation_time(self) -> Float[Tensor, " k"]:
        """tau_i = sigma_i^2/D_i, in rows; NaN for a mode that does not move."""
        return self.variance / torch.where(self.moves, self.velocity_variance, math.nan)


def variance_flatness(
    directions: Directions,
    window: Trajectory,
    flatness: Flatness,
    fit_modes: tuple[int, int] = (2, 500),
    *,
    name: str | None = None,
    ranks: Int[Tensor, " m"] | None = None,
    spectrum_ranks: tuple[int, int] | None = None,
) -> Exponents:
    r"""Fit the variance-flatness relation :math:`\sigma_i^2 \sim F_i^{-\psi}` of a window (paper, Eq. 8).

    The variance is that of ``window`` along ``directions``: the window the principal modes were found on, for the
    exponent in-sample; other rows, for the exponent in fresh data. Beside it stand
    :math:`D_i \sim F_i^{-\psi_D}` and :math:`\tau_i = \sigma_i^2/D_i \sim F_i^{-\psi_\tau}` (Eqs. 12 and 13).

    Args:
        directions: Principal modes, or any other directions.
        window: The window whose variance is measured.
        flatness: Flatness along the same directions, from the first on, or along those of ``ranks``.
        fit_modes: First and last mode to fit, counted from 1; mode 1 drifts and is left out by default.
        name: Name of the row in a table; that of the directions by default.
        ranks: Ranks of the directions whose flatness was measured, rising, counted from 1; the first ones by default.
        spectrum_ranks: First and last rank of the fit of the spectrum; by default 20 to 200 of 2,500 modes, and in
            proportion of others.

    Returns:
        The exponents; NaN where fewer than three modes can be fitted, and ``n_used`` says so.

    Raises:
        InputError: If the window has other weights or fewer than 21 rows, the flatness does not fit the directions, or
            the range of modes is empty.

    Example:
        >>> import landscope as ls, torch
        >>> from landscope.synthetic import InverseGaussian, sgd_in_bowl
        >>> curvature = torch.logspace(0, 1, 8).double()
        >>> path = sgd_in_bowl(curvature, 4000, learning_rate=0.1, noise_variance=1e-4, seed=0)
        >>> window = ls.Trajectory.of(path)
        >>> modes = ls.principal_modes(window)
        >>> F = ls.flatness(InverseGaussian(curvature), torch.zeros(8).double(), modes.directions)
        >>> found = ls.variance_flatness(modes, window, F, fit_modes=(1, 8))
        >>> found.name, found.n_used, found.psi < -1
        ('principal modes', 8, True)
    """
    statistics = mode_statistics(directions, window)
    return fit_exponents(
        directions.name if name is None else name,
        statistics,
        flatness,
        fit_modes,
        ranks=ranks,
        spectrum_ranks=spectrum_ranks or ranks_like_the_paper(min(len(window) - 1, window.dim)),
    )


def measure_exponents(
    name: str,
    landscape: LossLandscape,
    w0: Float[Tensor, " N"],
    window: Trajectory,
    *,
    directions: Directions | None = None,
    fit_modes: tuple[int, int] = (2, 500),
    n_modes: int | None = None,
    spectrum_ranks: tuple[int, int] | None = None,
    rtol: float = 1e-3,
    ratio: float = math.e,
    max_displacement: float | None = None,
    progress: ProgressCallback | None = None,
) -> Exponents:
    """Find the modes of a window, measure the flatness along them, and fit the exponents.

    Surrogates and controls go through the same steps as the window itself.

    Args:
        name: Name of the row in a table.
        landscape: The risk at the window's end.
        w0: The window's end, around which the flatness is measured.
        window: The window, a surrogate, or another run.
        directions: Directions; the principal modes of the window by default.
        fit_modes: First and last mode to fit; the flatness is measured as far as they reach.
        n_modes: Measure the flatness of about so many modes of the range, log-spaced; of all by default.
        spectrum_ranks: First and last rank of the fit of the spectrum; by default 20 to 200 of 2,500 modes, and in
            proportion of others.
        rtol: Tolerance of the crossings.
        ratio: Factor of the loss at the crossings, see :func:`landscope.flatness`.
        max_displacement: Largest displacement of the search for crossings.
        progress: Callback for the number of completed modes.

    Returns:
        The exponents.

    Raises:
        InputError: If the window is too short.

    Example:
        >>> import torch
        >>> from landscope.surrogates import shuffled_increments
        >>> from landscope.synthetic import InverseGaussian, sgd_in_bowl
        >>> curvature = torch.logspace(0, 2, 12).double()
        >>> window = Trajectory.of(sgd_in_bowl(curvature, 500, learning_rate=0.01, noise_variance=1.0, seed=0))
        >>> null, w0 = shuffled_increments(window, seed=0), window.row(-1)
        >>> measure_exponents("null", InverseGaussian(curvature), w0, null, fit_modes=(2, 10)).variance.shape
        torch.Size([12])
    """
    directions = directions or principal_modes(window)
    ranks = ranks_to_measure(len(directions), fit_modes, n_modes)
    widths = flatness(
        landscape,
        w0,
        directions.directions[ranks - 1].to(w0),
        ratio=ratio,
        rtol=rtol,
        max_displacement=max_displacement,
        progress=progress,
    )
    return variance_flatness(
        directions, window, widths, fit_modes, name=name, ranks=ranks, spectrum_ranks=spectrum_ranks
    )


def ranks_to_measure(available: int, fit_modes: tuple[int, int], n_modes: int | None) -> Int[Tensor, " m"]:
    """Ranks whose flatness a fit needs: all up to its last mode, or about ``n_modes`` of its range."""
    last = min(fit_modes[1], available)
    if n_modes is None:
        return log_spaced_ranks(last)
    return log_spaced_ranks(last, check_count("n_modes", n_modes, minimum=1), fit_modes[0])


def fit_exponents(
    name: str,
    statistics: ModeStatistics,
    flatness: Flatness,
    fit_modes: tuple[int, int] = (2, 500),
    *,
    ranks: Int[Tensor, " m"] | None = None,
    spectrum_ranks: tuple[int, int] | None = None,
) -> Exponents:
    r"""Fit the exponents from statistics that were measured before; see :func:`variance_flatness`.

    .. math:: \sigma_i^2 \sim F_i^{-\psi}, \qquad D_i \sim F_i^{-\psi_D}, \qquad
              \tau_i = \sigma_i^2/D_i \sim F_i^{-\psi_\tau}

    Least squares of logarithms over the same modes, each with equal weight, so that psi = psi_D + psi_tau is an
    identity and no evidence (paper, Eqs. 8, 12 and 13). Modes whose flatness is censored, and modes along which the
    window did not move (:func:`landscope.directions.moving`), are counted and left out. Intervals come from blocks of
    time (a jackknife with modes and flatness held fixed), never from the scatter of modes about the line: modes are
    not independent. They do not hold the spread over seeds. There is none where the modes relax too slowly for it, or
    where the window shifts the exponent; ``interval_reason`` says so.

    Args:
        name: Name of the row in a table.
        statistics: Statistics along the directions, from :func:`landscope.noise.mode_statistics`.
        flatness: Flatness along the same directions, from the first on, or along those of ``ranks``.
        fit_modes: First and last mode to fit, counted from 1.
        ranks: Ranks of the directions whose flatness was measured, rising, counted from 1; the first ones by default.
            In the fit each counts for all the ranks that it is nearest to, on a logarithmic scale.
        spectrum_ranks: First and last rank of the fit of the spectrum; by default 20 to 200 of 2,500 modes, and in
            proportion of others.

    Returns:
        The exponents.

    Raises:
        InputError: If the flatness does not fit the directions, or the range is empty.

    Example:
        >>> import landscope as ls, torch
        >>> from landscope.synthetic import InverseGaussian, sgd_in_bowl
        >>> curvature = torch.logspace(0, 1, 8).double()
        >>> path = sgd_in_bowl(curvature, 4000, learning_rate=0.1, noise_variance=1e-4, seed=0)
        >>> window = ls.Trajectory.of(path)
        >>> modes = ls.principal_modes(window)
        >>> F = ls.flatness(InverseGaussian(curvature), torch.zeros(8).double(), modes.directions)
        >>> found = fit_exponents("in-sample", mode_statistics(modes, window), F, (1, 8))
        >>> abs(found.psi - found.psi_D - found.psi_tau) < 1e-9
        True
    """
    ranks = torch.arange(1, len(flatness.width) + 1) if ranks is None else ranks
    spectrum_ranks = spectrum_ranks or ranks_like_the_paper(len(statistics.variance))
    _check_ranks(ranks, flatness, len(statistics.variance))
    rows, fitted_range = ranks - 1, _range_within(fit_modes, ranks)
    in_range = (ranks >= fitted_range[0]) & (ranks <= fitted_range[1])
    # One set of modes for all three exponents: those that move in both senses.
    moves = statistics.moves[rows]
    used = in_range & moves & flatness.bracketed
    counts = {"n_used": used, "n_censored": in_range & moves & ~flatness.bracketed, "n_still": in_range & ~moves}
    counted = {name: int(modes.sum()) for name, modes in counts.items()}
    found = dict.fromkeys(_EXPONENTS, math.nan)
    intervals = dict.fromkeys(_EXPONENTS, not_fitted(fitted_range, **counted))
    fit = None
    if counted["n_used"] >= _FEWEST_MODES:
        # The nearest measured rank stands for one that was not measured: the fit is over all modes of the range.
        fitted = used.nonzero()[:, 0].repeat_interleave(_ranks_nearest_to_each(ranks)[used])
        fit, found, intervals = _fits(flatness.width[fitted], statistics, rows[fitted])
    gamma, intervals["gamma"] = spectrum_exponent(statistics, spectrum_ranks)

    def at_ranks(values: Tensor, fill: float | bool) -> Tensor:
        return torch.full((len(statistics.variance),), fill, dtype=values.dtype).index_copy(0, rows, values)

    return Exponents(
        name=name,
        psi=found["psi"],
        psi_interval=intervals["psi"].ends,
        psi_D=found["psi_D"],
        psi_D_interval=intervals["psi_D"].ends,
        psi_tau=found["psi_tau"],
        psi_tau_interval=intervals["psi_tau"].ends,
        gamma=gamma,
        gamma_interval=intervals["gamma"].ends,
        interval_reason=reasons(intervals),
        reach=(intervals["psi"].reach, intervals["psi_D"].reach, intervals["psi_tau"].reach, intervals["gamma"].reach),
        modes_for_90_percent=modes_for_share(statistics.variance, statistics.total_variance, 0.9),
        variance=statistics.variance,
        velocity_variance=statistics.velocity_variance,
        moves=statistics.moves,
        width=at_ranks(flatness.width, math.nan),
        bracketed=at_ranks(flatness.bracketed, False),
        used=at_ranks(used, False),
        total_variance=statistics.total_variance,
        prefactor=fit.prefactor if fit else math.nan,
        residual=fit.residual if fit else math.nan,
        rank_correlation=rank_correlation(ranks[used], flatness.width[used]),
        mode_range=fitted_range,
        flatness_range=fit.fit_range if fit else NO_INTERVAL,
        **counted,
        provenance=stamp(fit_modes=fit_modes, spectrum_ranks=spectrum_ranks),
    )


def _check_ranks(ranks: Int[Tensor, " m"], flatness: Flatness, available: int) -> None:
    if len(ranks) != len(flatness.width) or (len(ranks) and int(ranks.max()) > available):
        raise InputError(
            expected=f"a flatness for each of at most {available} directions",
            got=f"{len(flatness.width)} for {len(ranks)} ranks up to {int(ranks.max()) if len(ranks) else 0}",
            hint="Measure the flatness along the directions the statistics were measured along.",
        )


def _range_within(fit_modes: tuple[int, int], ranks: Int[Tensor, " m"]) -> tuple[int, int]:
    """The modes to fit, no further than the flatness was measured."""
    highest = int(ranks.max()) if len(ranks) else 0
    first, last = check_count("first mode of fit_modes", fit_modes[0], minimum=1), min(fit_modes[1], highest)
    if last < first:
        raise InputError(expected=f"fit_modes within 1 to {highest}", got=f"{fit_modes}", hint="Measure more modes.")
    return first, last


def _fits(
    width: Float[Tensor, " n"], statistics: ModeStatistics, rows: Int[Tensor, " n"]
) -> tuple[PowerLaw, dict[str, float], dict[str, TimeInterval]]:
    """The law of the variance, the three exponents, and their intervals, over some directions."""
    fit, blocks = fit_power_law(width, statistics.variance[rows]), TimeBlocks(width, statistics, rows)
    psi, noise = -fit.exponent, _noise_exponent(width, statistics.velocity_variance[rows])
    intervals = {
        "psi": blocks.variance(psi), "psi_D": blocks.velocity_variance(noise), "psi_tau": blocks.time(psi - noise)
    }  # fmt: skip
    return fit, {"psi": psi, "psi_D": noise, "psi_tau": psi - noise}, intervals


def _noise_exponent(width: Float[Tensor, " n"], velocity_variance: Float[Tensor, " n"]) -> float:
    """psi_D; NaN where the rows lie at uneven distances in time, so that D is not known."""
    if bool(velocity_variance.isnan().any()):
        return math.nan
    return -fit_power_law(width, velocity_variance).exponent


def _ranks_nearest_to_each(ranks: Int[Tensor, " m"]) -> Int[Tensor, " m"]:
    """How many ranks, from the first to the last, are nearest to each of these, on a logarithmic scale."""
    every = torch.arange(int(ranks[0]), int(ranks[-1]) + 1, dtype=torch.float64)
    middles = (ranks[1:].double() * ranks[:-1]).sqrt()
    return torch.bincount(torch.searchsorted(middles, every), minlength=len(ranks))
