"""Figures of what the paper says in its text: ranges of the spectrum, form of the loss, correlation times, cooling."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go
from torch import Tensor

from landscope.landscape.flatness import Flatness
from landscope.law.exponents import Exponents
from landscope.law.local_exponents import local_exponents
from landscope.law.spectrum import Spectrum
from landscope.noise.correlation_time import correlation_time_from_velocities
from landscope.noise.drift_path import DriftPath
from landscope.noise.temperature_decay import cooling_rates
from landscope.noise.temperature_over_training import TemperatureOverTraining
from landscope.noise.velocity import VelocityStatistics
from landscope.plots.style import (
    FIT,
    FRESH,
    NULL,
    OWN,
    PROCESS,
    WALK,
    add_level,
    add_line,
    add_points,
    few_ticks,
    new_figure,
    numbers,
    ranks_of,
)

__all__ = [
    "cooling_rates_against_flatness",
    "correlation_times_from_velocities",
    "flatness_at_two_levels",
    "loss_forms_along_drift",
    "spectrum_exponents",
]

_FINE = 61


def spectrum_exponents(
    spectrum: Spectrum, surrogates: Sequence[Exponents], processes: Sequence[Exponents]
) -> go.Figure:
    """The exponent of the spectrum around each rank, with the nulls: three ranges show as three levels.

    Args:
        spectrum: The spectrum of the window.
        surrogates: Exponents of the shuffled increments, one for each draw; may be empty.
        processes: Exponents of the finite-window process, one for each draw; may be empty.

    Returns:
        A figure of gamma, without unit, against the rank (logarithmic), with the ends of the ranks fitted.
    """
    figure = new_figure("rank i", "local exponent γ", log_x=True)
    for name, color, laws in (
        ("shuffled increments", NULL, surrogates), ("finite-window process", PROCESS, processes)
    ):  # fmt: skip
        for number, law in enumerate(laws):
            ranks, exponents = local_exponents(law.variance, law.moves)
            figure.add_scatter(
                x=numbers(ranks), y=numbers(exponents), name=name, mode="lines", line={"color": color, "width": 2},
                legendgroup=name, showlegend=number == 0,
            )  # fmt: skip
    ranks, exponents = local_exponents(spectrum.variance, spectrum.moves)
    add_line(figure, numbers(ranks), numbers(exponents), "in-sample", OWN, width=2)
    for rank in spectrum.spectrum_ranks:
        add_level(figure, rank, f"i = {rank}", upright=True)
    return figure


def loss_forms_along_drift(path: DriftPath) -> go.Figure:
    """Ln L along the first mode, with an exponential, a straight and a quadratic L fitted to it.

    Args:
        path: What was measured along the drift.

    Returns:
        A figure of ln L against the displacement in units of the weights; without fits where fewer than four losses are
        positive.
    """
    figure = new_figure("displacement along mode 1", "ln L")
    x, loss = numbers(path.displacements), numbers(path.loss)
    fine, kept = np.linspace(x.min(), x.max(), _FINE), loss > 0
    scale = np.ptp(x) or 1.0
    if kept.sum() >= 4:
        log_fit = np.polyfit(x[kept] / scale, np.log(loss[kept]), 1)
        add_line(figure, fine, np.polyval(log_fit, fine / scale), "exponential L", FIT, width=2)
        for degree, name, color in ((1, "straight L", NULL), (2, "quadratic L", FRESH)):
            values = np.polyval(np.polyfit(x[kept] / scale, loss[kept], degree), fine / scale)
            values = np.where(values > 0, values, np.nan)
            add_line(figure, fine, np.log(values), name, color, dash="dash", width=1.5)
    add_points(figure, x[kept], np.log(loss[kept]), "measured", OWN, 7)
    return figure


def correlation_times_from_velocities(velocity: VelocityStatistics) -> go.Figure:
    """Correlation time of each mode: measured, by Eq. 13 from the correlations of the velocities, and without any.

    Args:
        velocity: Statistics of the velocities.

    Returns:
        A figure of tau_i in steps against the rank, both logarithmic.

    Example:
        >>> import landscope as ls
        >>> window = ls.Trajectory.of(ls.synthetic.random_walk(400, 2, seed=0))
        >>> velocity = ls.noise.velocity_statistics(window, ls.principal_modes(window), max_lag=5)
        >>> correlation_times_from_velocities(velocity).layout.yaxis.title.text
        'correlation time τ (steps)'
    """
    figure = new_figure("rank i", "correlation time τ (steps)", log_x=True, log_y=True)
    ranks = ranks_of(len(velocity.correlation_time))
    predicted = numbers(correlation_time_from_velocities(velocity.autocorrelation, velocity.n_steps)) * velocity.dt
    positive = predicted > 0
    add_points(figure, ranks[positive], predicted[positive], "Eq. 13 from measured correlations", FRESH, 3)
    add_points(figure, ranks, numbers(velocity.correlation_time), "σ²/D", OWN, 4)
    add_line(figure, ranks, numbers(velocity.white_time_in_sample), "no memory, along its own modes", NULL, width=2)
    add_level(figure, velocity.white_time, "no memory, given directions", WALK, dash="dot")
    add_level(figure, velocity.n_steps * velocity.dt, "window", WALK)
    return figure


def cooling_rates_against_flatness(over_training: TemperatureOverTraining, width: Tensor) -> go.Figure:
    """The rates r of T ~ t^(-r) after the first epoch, against flatness.

    Args:
        over_training: The temperatures over the training.
        width: F_i of all modes from the first, ``[k]``, in units of the weights.

    Returns:
        A figure of r, without unit, against F_i in units of the weights (logarithmic).
    """
    figure = new_figure("flatness F<sub>i</sub>", "cooling rate r of T ~ t<sup>−r</sup>", log_x=True)
    near = over_training.ranks <= len(width)
    widths = numbers(width[over_training.ranks[near] - 1])
    started = over_training.steps > 0
    started[: over_training.first_counted] = False
    rates = cooling_rates(over_training.steps[started], over_training.temperature[started])[near]
    kept = np.isfinite(widths)
    add_points(figure, widths[kept], numbers(rates)[kept], "modes of the end of training", OWN, 6)
    few_ticks(figure)
    return figure


def flatness_at_two_levels(widths: Flatness, smaller: Flatness) -> go.Figure:
    """Fig. 2C with flatness read at two multiples of the loss.

    Args:
        widths: Flatness of the modes.
        smaller: Flatness of the first of the same modes at another multiple of the loss.

    Returns:
        A figure of F_i in units of the weights against the rank, both logarithmic, for both multiples.
    """
    figure = new_figure("rank i", "flatness F<sub>i</sub>", log_x=True, log_y=True)
    for found, color in ((widths, OWN), (smaller, FRESH)):
        values = numbers(found.width)[: len(smaller.width)]
        kept = np.isfinite(values)
        level = "e" if abs(found.ratio - np.e) < 1e-12 else f"{found.ratio:.3g}"
        add_points(figure, ranks_of(len(values))[kept], values[kept], f"at {level} L₀", color, 4)
    return figure
