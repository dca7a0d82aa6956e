"""Text below Eq. 13 and section S5: the correlation time against the window, and the correlations that make it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from landscope.claims.one_sided import drawn_controls
from landscope.claims.verdict import Claim, Control, Measurement, fresh_control
from landscope.law.exponents import Exponents
from landscope.noise.correlation_time import correlation_time_from_velocities, white_time_ratio_band
from landscope.noise.velocity import VelocityStatistics, white_time

__all__ = ["CLAIMS", "correlation_time_measurements", "median_time_over_window", "velocity_measurements"]

CLAIMS = (
    Claim(
        "short_correlation_time",
        "text below Eq. 13",
        "The correlation time is much shorter than the window (median of tau/T_w over the modes fitted).",
        "much smaller than T_w",
        (0.0, 0.05),
        "a tenth of the 1/2 that the paper gives for velocities without memory",
        "modes of shuffled increments, whose velocities have no memory",
        possible=(0.0, math.inf),
    ),
    Claim(
        "velocity_correlations",
        "text below Eq. 13",
        "Velocities are correlated (median over modes of tau over that of velocities without memory, T_w/6 about the"
        " mean of the window, in data that did not choose the modes).",
        "significant correlations, much smaller tau",
        (0.0, 0.5),
        "half of what no memory gives, at most",
        "fresh data along the modes of the window; the exact distribution of velocities without memory",
        possible=(0.0, math.inf),
    ),
    Claim(
        "tau_from_velocities",
        "Eq. 13, S5",
        "The measured correlations of the velocities give tau by Eq. 13 (mean over modes of that over sigma^2/D).",
        "equal",
        (0.5, 2.0),
        "a factor of two",
        "correlations up to an epoch, beside none at all",
        possible=(0.0, math.inf),
    ),
)


def median_time_over_window(row: Exponents, n_rows: int, mode_range: tuple[int, int]) -> float:
    """The median of tau_i/T_w over the modes of a range that move; NaN where none does."""
    values = _times(row, mode_range) / n_rows
    return float(values.median()) if len(values) else math.nan


def _times(row: Exponents, mode_range: tuple[int, int]) -> Tensor:
    """tau_i, in rows, of the modes of a range that move."""
    part = slice(mode_range[0] - 1, mode_range[1])
    return row.correlation_time[part][row.moves[part]]


def correlation_time_measurements(
    in_sample: Exponents,
    fresh: Exponents | None,
    nulls: Sequence[Exponents],
    processes: Sequence[Exponents],
    n_rows: tuple[int, int],
    mode_range: tuple[int, int],
) -> dict[str, Measurement]:
    """Measure tau against the length of the window, in-sample and in fresh data.

    Args:
        in_sample: Exponents of the window along its own modes.
        fresh: Exponents of the fresh data along the same modes; None if there are none.
        nulls: Exponents of shuffled-increment surrogates.
        processes: Exponents of draws of the finite-window process.
        n_rows: Rows of the window and of the fresh data.
        mode_range: First and last mode of the medians.
    """

    def median(row: Exponents | None, length: int) -> float:
        return math.nan if row is None else median_time_over_window(row, length, mode_range)

    own, made = median(in_sample, n_rows[0]), [median(null, n_rows[0]) for null in nulls]
    drawn = drawn_controls("short_correlation_time", made, [median(draw, n_rows[0]) for draw in processes])
    short = (*drawn, fresh_control(median(fresh, n_rows[1])))
    later = torch.empty(0) if fresh is None else _times(fresh, mode_range)
    return {
        "short_correlation_time": Measurement(own, controls=short),
        "velocity_correlations": _against_white(later / white_time(n_rows[1]), own * n_rows[0]),
    }


def _against_white(ratios: Tensor, own: float) -> Measurement:
    if not len(ratios):
        return Measurement(math.nan, note="needs fresh data: modes chosen by their variance change tau by themselves")
    low, high = white_time_ratio_band(len(ratios))
    white = Control("velocities without memory", (low, math.inf), "differ", f"give {low:.2f} to {high:.2f} (95 %)")
    note = f"over {len(ratios)} modes; in-sample tau is {own:.3g} rows"
    return Measurement(float(ratios.median()), controls=(white,), note=note)


def velocity_measurements(
    velocity: VelocityStatistics, mode_range: tuple[int, int], n_measured: int
) -> dict[str, Measurement]:
    r"""Measure whether the autocorrelation of the velocities gives tau by Eq. 13.

    In a weight that is confined, correlations cancel: tau is the share tau/T of the terms of Eq. 13, so their errors
    count T/tau times. Beyond the largest lag the mean squared distance grows by the mean of
    :math:`v(t)(\theta(t + m) - \theta(t - m))`, which is zero but scatters by :math:`(2 D \sigma^2/T)^{1/2}` in T rows;
    a window weighs it by T/6. The predicted tau has thus a standard error of :math:`\sqrt{2 \tau T}/6`, and the mean
    over k modes of its ratio to tau one of :math:`\sqrt{2 T \sum_i \tau_i^{-1}}/6k`.

    Args:
        velocity: Velocities of the window along all modes.
        mode_range: First and last mode of the mean.
        n_measured: Number of modes with a measured flatness.
    """
    used = slice(mode_range[0] - 1, min(mode_range[1], n_measured))
    rows, measured = velocity.n_steps, velocity.correlation_time[used] / velocity.dt
    moves = torch.isfinite(measured)
    if not bool(moves.any()):
        return {"tau_from_velocities": Measurement(math.nan, note="no mode of the range moves")}
    predicted = correlation_time_from_velocities(velocity.autocorrelation[:, used][:, moves], rows)
    inverse = 1 / measured[moves]
    value, without = float((predicted * inverse).mean()), float(white_time(rows) * inverse.mean())
    reach = 1.96 * math.sqrt(2 * rows * float(inverse.sum())) / (6 * len(inverse))
    # Uncorrelated velocities give the same tau in every mode: an equal ratio would need no correlations.
    white = Control("velocities without memory", (without, math.inf), "differ", f"give {without:.3g}")
    note = f"{len(inverse)} modes, correlations up to {(len(velocity.autocorrelation) - 1) * velocity.dt} steps"
    return {"tau_from_velocities": Measurement(value, (value - reach, value + reach), (white,), note)}
