"""Intervals of an exponent from blocks of time of one run, and the reason where the run is too short for one."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from landscope.law.intervals import exponents_without_each, jackknife_interval
from landscope.noise.finite_window import window_factor
from landscope.noise.mode_statistics import ModeStatistics

__all__ = [
    "FEWEST_BLOCKS", "NO_INTERVAL", "TimeBlocks", "TimeInterval", "blocks_share", "not_fitted", "reason_of", "reasons",
]  # fmt: skip

NO_INTERVAL = (math.nan, math.nan)
_BLOCKS = (10, 5)
"""Numbers of blocks, the first that serves is taken; below five Student's quantile is large and R is less certain."""
FEWEST_BLOCKS = _BLOCKS[-1]
"""The fewest blocks of an interval: Student's law with one degree of freedom less is never too narrow."""
_SEEN = 0.9
"""Share R of the variance of the exponent that the blocks must see. Student's interval shrinks by the root of it: with
9 degrees of freedom it then covers P(|t| < 2.26 sqrt(0.9)) = 0.94 where it says 0.95."""
_SHIFT = 1 / 6
"""Largest shift of the exponent by the window, over the half width. With it and R = 0.9 the coverage is 0.926, by the
noncentral t distribution, for ten blocks and for five."""


@dataclasses.dataclass(frozen=True)
class TimeInterval:
    """An interval from blocks of time, or the reason why there is none.

    Args:
        ends: Lower and upper end; NaN where there is none.
        reason: The reason; empty where there is an interval.
        reach: How far another run of the same length may move the number, with 95 %: the half width of the jackknife,
            over the root of the share of the variance that the blocks see. NaN where nothing was fitted.
    """

    ends: tuple[float, float]
    reason: str = ""
    reach: float = math.nan


def blocks_share(times: Float[Tensor, " k"], length: float, n_blocks: int) -> Float[Tensor, " k"]:
    r"""Share of the variance of a mean over the window that the jackknife over blocks sees.

    .. math:: R = \frac{V(y) - V(b y)}{(b - 1)\,V(b y)}, \qquad V(y) = 1 - \kappa(y), \qquad y = 2 L/t

    for a series with exponential autocorrelation of integrated time t: V(y) is the variance of its mean over L rows,
    over that of one value. R is about 1 - 1/y for long blocks and y/3 for short ones.

    Args:
        times: Integrated autocorrelation times t of the series that is averaged, in rows.
        length: Rows L of a block.
        n_blocks: Blocks b.

    Example:
        >>> [round(float(share), 3) for share in blocks_share(torch.tensor([20.0, 2000.0]).double(), 1000, 10)]
        [0.99, 0.343]
    """
    y = 2 * length / times
    block, window = 1 - window_factor(y), 1 - window_factor(n_blocks * y)
    return (block - window) / ((n_blocks - 1) * window)


class TimeBlocks:
    r"""Intervals of the slopes of ln sigma_i^2, ln D_i and ln tau_i on ln x_i, where the relaxation times allow them.

    The jackknife over b blocks holds in two conditions, both derived:

    1. Blocks are long against the memory of the directions. With weights c_i of the least squares the slope has the
       variance :math:`\sum c_i^2 t_i/T`, of which blocks see :math:`R = \sum c_i^2 t_i R_i / \sum c_i^2 t_i`
       (``blocks_share``, with half the time of theta_i, which is that of its square). R must be at least 0.9.
    2. The window does not shift the slope. A centred window shows kappa(T/tau_i) of a variance
       (:func:`landscope.noise.window_factor`), and principal modes of the window itself show a variance too large by

       .. math:: \frac{\delta\sigma_i^2}{\sigma_i^2} = \frac{2}{T} \sum_{j \ne i} t_{ij}
                 \frac{\sigma_j^2}{\sigma_i^2 - \sigma_j^2}, \qquad t_{ij} = \frac{t_i t_j}{t_i + t_j}

       to first order (Lawley, Biometrika 43, 128 (1956); doubled, as it counts against the variance along the same
       directions in other windows). The shift of the slope must be at most a sixth of the half width.

    Where a condition fails there is no interval, but still a ``reach``: the jackknife over :math:`\sqrt R` has the
    whole sampling variance on average, correlations between directions included, and a shift moves every run alike. It
    says how far another run of the same length may be, not where the slope of a window without end is. R is an estimate
    too: the mean over simulated runs lies within reach in 78 to 99 % (slow relaxation, and walks without any).

    What the interval then covers is the slope that the same directions show in a window without end. For D_i the memory
    of v_i^2 counts, its length of window shifts nothing, and the choice of the directions as if t were 1.

    Args:
        x: Abscissae of the fitted points, one for each entry of ``rows``.
        statistics: Statistics along the directions.
        rows: Directions fitted, counted from 0; one that stands for several is repeated.
    """

    def __init__(self, x: Float[Tensor, " n"], statistics: ModeStatistics, rows: Int[Tensor, " n"]) -> None:
        self._x, self._statistics, self._rows = x, statistics, rows
        log_x = torch.log(x.double())
        centred = log_x - log_x.mean()
        # A direction that is repeated has the sum of its weights.
        self._weights = torch.zeros(len(statistics.variance), dtype=torch.float64)
        self._weights.index_add_(0, rows, centred / (centred @ centred))

    @classmethod
    def reach_of(
        cls,
        value_of: Callable[[Float[Tensor, " k"]], float],
        statistics: ModeStatistics,
        weights: Float[Tensor, " k"],
    ) -> float:
        """How far another run of the same length may move a number that the variances make, with 95 %.

        That is the half width of the jackknife over blocks, over the root of the share of the variance that they see,
        as for an exponent without an interval.

        Args:
            value_of: The number as a function of all variances sigma_i^2.
            statistics: Statistics along the directions.
            weights: Its derivatives after ln sigma_i^2, which say whose memory counts.

        Returns:
            The reach; infinite where the rows lie at uneven distances in time.
        """
        blocks = cls.__new__(cls)
        blocks._statistics, blocks._weights = statistics, weights.double()
        count, seen = blocks._blocks_for(statistics.integrated_time / 2)
        parts = _merged(statistics.moments, count)
        rest = (parts.sum(dim=0) - parts) / (count - 1)
        variances = (rest[:, 1] - rest[:, 0].square()).clamp(min=torch.finfo(torch.float64).tiny)
        without = torch.tensor([value_of(each) for each in variances], dtype=torch.float64)
        low, high = jackknife_interval(without, 0.0)
        return (high - low) / 2 / math.sqrt(seen) if seen > 0 else math.inf

    def variance(self, value: float) -> TimeInterval:
        """The interval of ``value``, plus or minus the slope of ln sigma^2."""
        return self._positions(value, self._without_position)

    def velocity_variance(self, value: float) -> TimeInterval:
        """The interval of ``value``, plus or minus the slope of ln D; a factor of D that is known changes nothing."""
        found = self._velocities(value)
        if found.reason and self._statistics.chosen_here:
            # Modes of other runs are mixed otherwise, which moves D as it moves sigma^2.
            return dataclasses.replace(found, reach=max(found.reach, self.variance(value).reach))
        return found

    def _velocities(self, value: float) -> TimeInterval:
        count, seen = self._blocks_for(self._statistics.velocity_time)
        ends = jackknife_interval(self._without_velocity(count), value)
        if not seen >= _SEEN:  # NaN where rows lie at uneven distances
            return _unseen(ends, seen, "the strength of the velocity")
        return self._unless_shifted(ends, self._velocity_bias())

    def time(self, value: float) -> TimeInterval:
        """The interval of ``value``, plus or minus the slope of ln sigma^2 - ln D."""
        return self._positions(value, lambda count: self._without_position(count) - self._without_velocity(count))

    def shift(self) -> float:
        """The shift of the slope of ln sigma^2 by the length of the window and by the choice of the directions."""
        return self._slope(self._position_bias())

    def _position_bias(self) -> Float[Tensor, " k"]:
        found, times = self._statistics, self._statistics.integrated_time
        bias = torch.log(window_factor(2 * found.n_steps / times))
        return bias + self._selected(times) if found.chosen_here else bias

    def _velocity_bias(self) -> Float[Tensor, " k"]:
        """The choice of the directions, for white velocities of relaxing directions: as if positions had t = 1."""
        times = torch.ones_like(self._statistics.integrated_time)
        return self._selected(times) if self._statistics.chosen_here else torch.zeros_like(times)

    def _selected(self, times: Float[Tensor, " k"]) -> Float[Tensor, " k"]:
        found = self._statistics
        return selection_bias(found.variance, times, found.total_variance, found.n_steps)

    def _slope(self, bias: Float[Tensor, " k"]) -> float:
        fitted = self._weights != 0
        return float(self._weights[fitted] @ bias[fitted])

    def _positions(self, value: float, without: Callable[[int], Float[Tensor, " b"]]) -> TimeInterval:
        count, seen = self._blocks_for(self._statistics.integrated_time / 2)
        ends = jackknife_interval(without(count), value)
        if not seen >= _SEEN:  # NaN where rows lie at uneven distances
            return _unseen(ends, seen, "the position")
        return self._unless_shifted(ends, self._position_bias())

    def _unless_shifted(self, ends: tuple[float, float], bias: Float[Tensor, " k"]) -> TimeInterval:
        shift, reach = self._slope(bias), (ends[1] - ends[0]) / 2
        if abs(shift) <= _SHIFT * reach:
            return TimeInterval(ends, reach=reach)
        cause = "the length of the window"
        if self._statistics.chosen_here:
            cause = "the choice of the directions by their variance in this window"
        reason = f"{cause} would shift it by {abs(shift):.2g}, too much for ±{reach:.2g}"
        return TimeInterval(NO_INTERVAL, reason, reach)

    def _blocks_for(self, times: Float[Tensor, " k"]) -> tuple[int, float]:
        """The number of blocks that see enough of the variance, or the smallest, and the share that they see."""
        fitted = self._weights != 0
        seen = 0.0
        if bool(times[fitted].isnan().any()):
            return FEWEST_BLOCKS, math.nan
        for count in _BLOCKS:
            share = blocks_share(times[fitted], self._statistics.n_steps / count, count)
            weight = self._weights[fitted].square() * times[fitted]
            seen = float((weight * share).sum() / weight.sum())
            if seen >= _SEEN:
                return count, seen
        return FEWEST_BLOCKS, seen

    def _without_position(self, count: int) -> Float[Tensor, " b"]:
        return exponents_without_each(self._x, _merged(self._statistics.moments, count)[:, :, self._rows])

    def _without_velocity(self, count: int) -> Float[Tensor, " b"]:
        blocks = _merged(self._statistics.velocity_moments, count)[:, :, self._rows]
        return exponents_without_each(self._x, blocks, about_mean=False)


def selection_bias(
    variance: Float[Tensor, " k"], times: Float[Tensor, " k"], total: float, n_rows: int
) -> Float[Tensor, " k"]:
    """How much larger ln sigma_i^2 is along principal modes of the window itself, to first order in t/T."""
    between = times[:, None] * times / (times[:, None] + times)
    gaps = variance[:, None] - variance
    ratio = torch.where(gaps == 0, 0.0, variance / torch.where(gaps == 0, 1.0, gaps))
    rest = max(0.0, total - float(variance.sum()))
    # Directions that were not measured: variances below, and times of at most t_i.
    outside = torch.where(variance > 0, rest * times / variance.clamp(min=torch.finfo(torch.float64).tiny), 0.0)
    return 2 / n_rows * ((between * ratio).sum(dim=1) + outside)


def not_fitted(modes: tuple[int, int], *, n_used: int, n_still: int, n_censored: int) -> TimeInterval:
    """The interval of an exponent that has too few directions for a fit: none, with the reason.

    Args:
        modes: First and last mode of the range of the fit.
        n_used: Modes that are left.
        n_still: Modes that did not move.
        n_censored: Modes without a flatness within reach.
    """
    return TimeInterval(
        NO_INTERVAL,
        f"no exponent, as a fit needs three directions: of modes {modes[0]} to {modes[1]}, {n_still} did not move and "
        f"{n_censored} have no flatness within reach, which leaves {n_used}",
    )


def reasons(found: dict[str, TimeInterval]) -> str:
    """Why quantities have no interval, in a sentence; empty where all have one."""
    names: dict[str, list[str]] = {}
    for name, interval in found.items():
        if interval.reason:
            names.setdefault(interval.reason, []).append(name)
    return "; ".join(f"no interval of {' and '.join(keys)}: {reason}" for reason, keys in names.items())


def reason_of(sentence: str, key: str) -> str:
    """The reason of one quantity in a sentence of :func:`reasons`; empty where it has an interval.

    Example:
        >>> reason_of("no interval of psi and gamma: few rows; no interval of psi_D: a drift", "gamma")
        'few rows'
    """
    parts = (part.removeprefix("no interval of ").split(": ", 1) for part in sentence.split("; "))
    return next((why for names, *rest in parts for why in rest if key in names.split(" and ")), "")


def _unseen(ends: tuple[float, float], seen: float, what: str) -> TimeInterval:
    """No interval, as blocks see too little of the variance."""
    reach = (ends[1] - ends[0]) / 2 / math.sqrt(seen) if seen > 0 else math.inf
    return TimeInterval(NO_INTERVAL, _memory_reason(seen, what), reach)


def _memory_reason(seen: float, what: str) -> str:
    if math.isnan(seen):
        return "the rows lie at uneven distances in time"
    return f"blocks of time see {seen:.0%} of its variance, as {what} along the directions relaxes too slowly for them"


def _merged(blocks: Float[Tensor, "b 2 n"], count: int) -> Float[Tensor, "c 2 n"]:
    """Means over neighbouring blocks."""
    return blocks.unflatten(0, (count, -1)).mean(dim=1)
