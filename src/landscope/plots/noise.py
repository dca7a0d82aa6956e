"""Figures 3, S7 and of the sections S1 to S3: springs, velocities, drift and curvature."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go
import torch

from landscope.landscape.flatness_and_curvature import FlatnessAndCurvature
from landscope.noise.drift import DriftLaw
from landscope.noise.drift_path import Activity, DriftPath
from landscope.noise.noise_and_curvature import NoiseAndCurvature
from landscope.noise.springs import Springs
from landscope.noise.stationarity import YaidaRelation
from landscope.noise.velocity import VelocityStatistics
from landscope.plots.style import (
    FIT,
    FRESH,
    MANY_COLORS,
    NULL,
    OWN,
    PALETTE,
    add_level,
    add_line,
    add_points,
    few_ticks,
    new_figure,
    numbers,
    ranks_of,
    taller,
    two_axes,
)

__all__ = [
    "active_modes",
    "loss_along_drift",
    "velocity_autocorrelation",
    "inverse_loss_over_training",
    "flatness_and_curvature",
    "mean_squared_displacement",
    "minibatch_profiles",
    "noise_against_curvature",
    "spring_predictions",
    "spring_statistics",
    "stationarity",
]

_SYMBOLS = ("circle", "square", "diamond")


def minibatch_profiles(springs: Springs) -> go.Figure:
    """Fig. 3A: ln L of single minibatches and of all data along one mode.

    Args:
        springs: The springs of the minibatches.

    Returns:
        A figure of ln L against the displacement along one mode in units of the weights, with one line for each of a
        few minibatches, and one for all data.
    """
    row = min(1, len(springs.drawn_ranks) - 1)
    figure = new_figure(f"displacement δθ, i = {int(springs.drawn_ranks[row])}", "ln L")
    x = numbers(springs.displacements[row])
    for number, profile in enumerate(numbers(springs.profiles[row]).T):
        figure.add_scatter(
            x=x, y=np.log(np.maximum(profile, 1e-300)), name="single minibatches", mode="lines", legendgroup="batch",
            showlegend=number == 0, line={"color": OWN, "dash": "dash", "width": 1},
        )  # fmt: skip
    add_line(figure, x, np.log(numbers(springs.loss[row])), "all data", FIT, width=3)
    return figure


def spring_statistics(springs: Springs) -> go.Figure:
    """Fig. S7: mean stiffness and spread of the minima against flatness.

    Args:
        springs: The springs of the minibatches.

    Returns:
        A figure of the mean stiffness M_ii (inverse square of the units of the weights) and of the spread sigma~_i
        (units of the weights) against F_i in units of the weights, all logarithmic, with power laws.
    """
    figure = new_figure("flatness F<sub>i</sub>", "M<sub>ii</sub> and σ̃<sub>i</sub>", log_x=True, log_y=True)
    x = numbers(springs.width)
    for values, name, color, slope in (
        (springs.mean_stiffness, "mean stiffness M", OWN, springs.stiffness_exponent),
        (springs.centre_scale, "spread of the minima σ̃ (median)", FRESH, springs.centre_exponent),
    ):
        y = numbers(values)
        add_points(figure, x, y, name, color)
        kept = np.isfinite(y) & (y > 0)
        if slope == slope:
            scale = np.exp(np.mean(np.log(y[kept]) - slope * np.log(x[kept])))
            ends = np.array([x.min(), x.max()])
            add_line(figure, ends, scale * ends**slope, f"exponent {slope:.2f}", color, width=1.5)
    few_ticks(figure)
    return figure


def spring_predictions(springs: Springs) -> go.Figure:
    """Ratios of predicted and measured flatness (Eq. 10) and velocity variance (Eq. 12).

    Args:
        springs: The springs of the minibatches.

    Returns:
        A figure of the ratios predicted over measured, without unit, against the rank, both logarithmic; 1 where the
        prediction holds.
    """
    figure = new_figure("rank i", "predicted / measured", log_x=True, log_y=True)
    ranks = numbers(springs.ranks)
    ratio = springs.predicted_velocity_variance / springs.velocity_variance
    add_points(figure, ranks, numbers(springs.predicted_flatness / springs.width), "flatness F (Eq. 10)", OWN)
    add_points(figure, ranks, numbers(ratio), "velocity variance D (Eq. 12)", FRESH)
    trimmed = springs.trimmed_velocity_variance / springs.velocity_variance
    add_points(figure, ranks, numbers(trimmed), "D, largest tenth of θ trimmed", PALETTE[3])
    add_points(figure, ranks, numbers(springs.mean_field_ratio), "joint moment / product (mean field)", NULL)
    add_level(figure, 1)
    figure.update_yaxes(range=[-4, 4])  # larger ratios mean that the prediction fails
    return figure


def _drawn(count: int) -> list[int]:
    return [rank for rank in (1, 2, 10, 50, 200) if rank <= count]


def velocity_autocorrelation(velocity: VelocityStatistics, steps_per_epoch: int | None) -> go.Figure:
    """Velocity autocorrelation of a few modes, summed over lags: noise of single steps would hide it otherwise.

    Args:
        velocity: Statistics of the velocities.
        steps_per_epoch: Steps in an epoch; the axis counts steps if None.

    Returns:
        A figure of 1 + 2 sum c_i(t), without unit, against the lag in steps or epochs.

    Example:
        >>> import landscope as ls
        >>> window = ls.Trajectory.of(ls.synthetic.random_walk(400, 2, seed=0))
        >>> velocity = ls.noise.velocity_statistics(window, ls.principal_modes(window), max_lag=5)
        >>> [curve.name for curve in velocity_autocorrelation(velocity, None).data]
        ['i = 1', 'i = 2']
    """
    figure = new_figure(
        f"lag ({'steps' if steps_per_epoch is None else 'epochs'})", "1 + 2 Σ c<sub>i</sub>(t) up to the lag"
    )
    lags = np.arange(len(velocity.autocorrelation)) * velocity.dt / (steps_per_epoch or 1)
    for rank, color in zip(_drawn(velocity.autocorrelation.shape[1]), [*PALETTE, FIT], strict=False):
        add_line(figure, lags, numbers(2 * velocity.autocorrelation[:, rank - 1].cumsum(0) - 1), f"i = {rank}", color)
    return figure


def mean_squared_displacement(velocity: VelocityStatistics) -> go.Figure:
    """Mean squared displacement of a few modes.

    Args:
        velocity: Statistics of the velocities.

    Returns:
        A figure of the mean squared displacement in units of the weights squared against the lag in steps, both
        logarithmic; the names have the exponents.
    """
    figure = new_figure("lag (steps)", "mean squared displacement", log_x=True, log_y=True)
    for rank, color in zip(_drawn(velocity.msd.shape[1]), [*PALETTE, FIT], strict=False):
        slope = float(velocity.msd_exponent[rank - 1])
        name = f"i = {rank}, exponent {slope:.2f}"
        add_line(figure, numbers(velocity.msd_lags), numbers(velocity.msd[:, rank - 1]), name, color)
    return figure


def inverse_loss_over_training(law: DriftLaw) -> go.Figure:
    """S2: 1/L over time, with a fitted line and the slope of a drift along p_1 alone.

    Args:
        law: The fit of 1/L.

    Returns:
        A figure of 1/L, in inverse units of the loss, against the step.
    """
    figure = new_figure("step", "1/L")
    x, y = numbers(law.steps), 1 / numbers(law.loss)
    add_points(figure, x, y, "training loss, after each epoch", OWN, 6)
    middle = y.mean()
    for slope, name, color in (
        (law.slope, f"line, R² = {law.r_squared:.3f}", FIT),
        (law.predicted_slope, "αβ²: drift along p<sub>1</sub> alone", NULL),
    ):
        add_line(figure, x, middle + slope * (x - x.mean()), name, color, width=2)
    return figure


def loss_along_drift(path: DriftPath) -> go.Figure:
    """S2: margin and test error along the drift, as far as they were measured.

    Args:
        path: What was measured along the drift.

    Returns:
        A figure of the margin over its value at w0 (left, without unit) and the test error in per cent (right) against
        the displacement along the drift in units of the weights. What was not measured has no axis.
    """
    margins = [
        (path.margin / path.margin[0], "margin over its value at w₀", OWN),
        (path.relative_margin / path.relative_margin[0], "margin per norm of the weights", NULL),
    ]
    margins = [curve for curve in margins if bool(torch.isfinite(curve[0]).any())]
    errors = [(100 * path.test_error, "test error (%)", FRESH)] if bool(torch.isfinite(path.test_error).any()) else []
    title = "displacement along p<sub>1</sub> from w₀"
    if margins and errors:
        figure, right = two_axes(title, "margin", "test error (%)"), {"secondary_y": True}
    else:
        figure, right = new_figure(title, "margin" if margins else "test error (%)"), {}
    for (values, name, color), axis in [*((curve, {}) for curve in margins), *((curve, right) for curve in errors)]:
        figure.add_scatter(
            x=numbers(path.displacements), y=numbers(values), name=name, mode="lines+markers", line={"color": color},
            **axis,
        )  # fmt: skip
    return figure


def flatness_and_curvature(comparison: FlatnessAndCurvature) -> go.Figure:
    """S3: ratio of the flatness to its value from the local curvature, against rank.

    Args:
        comparison: Flatness beside curvature.

    Returns:
        A figure of F_i sqrt(H_ii/8 L_0), without unit, against the rank (logarithmic); 1 where ln L is quadratic.
    """
    figure = new_figure("rank i", "F<sub>i</sub> √(H<sub>ii</sub>/8L₀)", log_x=True)
    add_points(figure, numbers(comparison.ranks), numbers(comparison.ratio), "measured over local", OWN)
    add_level(figure, 1, "ln L quadratic")
    return figure


def noise_against_curvature(layers: Sequence[NoiseAndCurvature]) -> go.Figure:
    """Gradient noise against curvature in each layer, in two bases.

    Args:
        layers: One comparison for each layer and basis, at least one.

    Returns:
        A figure of C_ii (loss squared over weights squared) against H_ii (loss over weights squared), both logarithmic;
        the names have the exponents.
    """
    figure = new_figure("curvature H<sub>ii</sub>", "gradient noise C<sub>ii</sub>", log_x=True, log_y=True)
    names = list(dict.fromkeys(layer.layer for layer in layers))
    for layer in layers:
        kept = numbers((layer.curvature > 0) & (layer.variance > 0))
        turn, place = divmod(names.index(layer.layer), len(MANY_COLORS))
        symbol = _SYMBOLS[turn % len(_SYMBOLS)] + ("" if layer.basis == layers[0].basis else "-open")
        name = f"{layer.layer}, {layer.basis}: {layer.exponent:.2f}"
        figure.add_scatter(
            x=numbers(layer.curvature)[kept], y=numbers(layer.variance)[kept], name=name, mode="markers",
            marker={"size": 5, "symbol": symbol, "color": MANY_COLORS[place]},
        )  # fmt: skip
    taller(figure, len(layers))
    return figure


def stationarity(yaida: YaidaRelation) -> go.Figure:
    """The ratio of Yaida's relation against rank.

    Args:
        yaida: The relation along each mode.

    Returns:
        A figure of the ratio, without unit, against the rank, both logarithmic; 1 where the weights are stationary. A
        negative ratio is drawn by its absolute value, in grey.
    """
    figure = new_figure("rank i", "⟨θ ∂L⟩ / (D/2α)", log_x=True, log_y=True)
    ratio, ranks = numbers(yaida.ratio), ranks_of(len(yaida.ratio))
    add_points(figure, ranks[ratio > 0], ratio[ratio > 0], "ratio", OWN)
    add_points(figure, ranks[ratio < 0], -ratio[ratio < 0], "absolute value of a negative ratio", NULL)
    add_level(figure, 1, "stationary", at="start")
    return figure


def active_modes(activity: Activity, steps_per_epoch: int | None) -> go.Figure:
    """Number of modes with 99 % of the variance in each window.

    Args:
        activity: Number of active modes in each window.
        steps_per_epoch: Steps in an epoch; the axis counts steps if None.

    Returns:
        A figure of the number of modes, with mode 1 and without it, against the last step or epoch of each window.
    """
    figure = new_figure(
        "step" if steps_per_epoch is None else "epoch",
        f"modes with {100 * activity.fraction:g} % of the variance",
    )
    epochs = numbers(activity.steps) / (steps_per_epoch or 1)
    without = activity.dimension_without_drift
    for values, name, color in ((activity.dimension, "with mode 1", OWN), (without, "without mode 1", FRESH)):
        add_points(figure, epochs, numbers(values), name, color, 7)
    figure.update_yaxes(rangemode="tozero")
    return figure
