"""Figures 3, 5, S7 and of the sections S1 to S3: springs, temperatures, drift and curvature."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go
import torch
from torch import Tensor

from landscope.landscape.flatness_and_curvature import FlatnessAndCurvature
from landscope.noise.drift import DriftLaw
from landscope.noise.drift_path import Activity, DriftPath
from landscope.noise.gradient import GradientNoise
from landscope.noise.noise_and_curvature import NoiseAndCurvature
from landscope.noise.springs import Springs
from landscope.noise.stationarity import YaidaRelation
from landscope.noise.temperature import ActiveTemperature
from landscope.noise.temperature_over_training import TemperatureOverTraining
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
    logarithmic,
    new_figure,
    numbers,
    panels,
    ranks_of,
    taller,
    two_axes,
)

__all__ = [
    "active_modes",
    "loss_along_drift",
    "velocity_autocorrelation",
    "temperature_over_training",
    "temperature_profiles_over_training",
    "inverse_loss_over_training",
    "flatness_and_curvature",
    "mean_squared_displacement",
    "minibatch_profiles",
    "noise_against_curvature",
    "spring_predictions",
    "spring_statistics",
    "stationarity",
    "temperature_against_flatness",
    "temperature_against_loss",
    "temperature_profiles",
]

_SYMBOLS = ("circle", "square", "diamond")
_PALEST = 0.35
"""Opacity of the first step of a training; paler lines are hard to see."""


def minibatch_profiles(springs: Springs) -> go.Figure:
    """Fig. 3A: ln L of single minibatches and of all data along one mode."""
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
    """Fig. S7: mean stiffness and spread of the minima against flatness."""
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
    """Ratios of predicted and measured flatness (Eq. 10) and velocity variance (Eq. 12)."""
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
    """Velocity autocorrelation of a few modes, summed over lags: noise of single steps would hide it otherwise."""
    figure = new_figure(
        f"lag ({'steps' if steps_per_epoch is None else 'epochs'})", "1 + 2 Σ c<sub>i</sub>(t) up to the lag"
    )
    lags = np.arange(len(velocity.autocorrelation)) * velocity.dt / (steps_per_epoch or 1)
    for rank, color in zip(_drawn(velocity.autocorrelation.shape[1]), [*PALETTE, FIT], strict=False):
        add_line(figure, lags, numbers(2 * velocity.autocorrelation[:, rank - 1].cumsum(0) - 1), f"i = {rank}", color)
    return figure


def mean_squared_displacement(velocity: VelocityStatistics) -> go.Figure:
    """Mean squared displacement of a few modes."""
    figure = new_figure("lag (steps)", "mean squared displacement", log_x=True, log_y=True)
    for rank, color in zip(_drawn(velocity.msd.shape[1]), [*PALETTE, FIT], strict=False):
        slope = float(velocity.msd_exponent[rank - 1])
        name = f"i = {rank}, exponent {slope:.2f}"
        add_line(figure, numbers(velocity.msd_lags), numbers(velocity.msd[:, rank - 1]), name, color)
    return figure


def temperature_profiles(along: ActiveTemperature, ranks: Tensor) -> go.Figure:
    """Fig. 5A: active temperature (left) and loss (right) along modes."""
    figure = panels(1, 2, horizontal_spacing=0.2)
    for row, (rank, color) in enumerate(zip(ranks.tolist(), PALETTE, strict=False)):
        x = numbers(along.displacements[row])
        for column, values in ((1, along.temperature[row]), (2, along.loss[row])):
            figure.add_scatter(
                x=x, y=numbers(values), name=f"i = {rank}", mode="lines+markers", marker={"size": 4, "color": color},
                legendgroup=str(rank), showlegend=column == 1, row=1, col=column,
            )  # fmt: skip
    figure.update_xaxes(title_text="displacement δθ")
    figure.update_yaxes(**logarithmic())
    figure.update_yaxes(title_text="active temperature T<sub>i</sub>", col=1)
    figure.update_yaxes(title_text="loss L", col=2)
    return figure


def temperature_against_flatness(noise: GradientNoise, width: Tensor, learning_rate: float) -> go.Figure:
    """Fig. 5B: active temperature at w0 against rank and against flatness."""
    figure = panels(1, 2, shared_yaxes=True, horizontal_spacing=0.06)
    temperature = numbers(noise.temperature(learning_rate))
    kept = np.isfinite(numbers(width))
    for column, x in ((1, ranks_of(len(temperature))[kept]), (2, numbers(width)[kept])):
        figure.add_scatter(
            x=x, y=temperature[kept], mode="markers", marker={"size": 4, "color": OWN}, showlegend=False, row=1,
            col=column,
        )  # fmt: skip
    figure.update_xaxes(**logarithmic(narrow=True))
    figure.update_yaxes(**logarithmic())
    figure.update_xaxes(title_text="rank i", col=1)
    figure.update_xaxes(title_text="flatness F<sub>i</sub>", col=2)
    figure.update_yaxes(title_text="active temperature T<sub>i</sub>(0)", col=1)
    return figure


def temperature_profiles_over_training(over_training: TemperatureOverTraining) -> go.Figure:
    """Fig. 5C: active temperature along one mode at several checkpoints."""
    figure = new_figure(f"displacement δθ, i = {over_training.drawn_rank}", "active temperature", log_y=True)
    shades = np.linspace(_PALEST, 1, max(2, len(over_training.profiles)))
    for profile, step, shade in zip(
        numbers(over_training.profiles), over_training.drawn_steps.tolist(), shades, strict=False
    ):
        color = f"rgba(31, 95, 168, {shade:.2f})"
        add_line(figure, numbers(over_training.displacements), profile, f"step {step:,.0f}", color)
    return figure


def temperature_over_training(over_training: TemperatureOverTraining) -> go.Figure:
    """Fig. 5D: loss and active temperatures over training."""
    figure = new_figure("step (0 drawn at 0.5)", "loss and active temperature", log_x=True, log_y=True)
    x = np.maximum(numbers(over_training.steps), 0.5)
    for column in range(0, len(over_training.ranks), max(1, len(over_training.ranks) // 8)):
        y = numbers(over_training.temperature[:, column])
        figure.add_scatter(
            x=x, y=y, name=f"T<sub>i</sub>, i = {int(over_training.ranks[column])}", mode="lines",
            line={"color": OWN, "width": 1}, opacity=0.3 + 0.7 * (1 - column / len(over_training.ranks)),
        )  # fmt: skip
    add_line(figure, x, numbers(over_training.loss), "loss L", FIT, width=3)
    return figure


def temperature_against_loss(over_training: TemperatureOverTraining) -> go.Figure:
    """Fig. 5D, inset: active temperature against loss at the checkpoints."""
    figure = new_figure("loss L", "active temperature T<sub>i</sub>(0)", log_x=True, log_y=True)
    for column, color in zip(
        range(0, len(over_training.ranks), max(1, len(over_training.ranks) // 4)), PALETTE, strict=False
    ):
        name = f"i = {int(over_training.ranks[column])}"
        figure.add_scatter(
            x=numbers(over_training.loss), y=numbers(over_training.temperature[:, column]), name=name,
            mode="lines+markers", line={"color": color, "width": 1}, marker={"size": 5},
        )  # fmt: skip
    return figure


def inverse_loss_over_training(law: DriftLaw) -> go.Figure:
    """S2: 1/L over time, with a fitted line and the slope of a drift along p_1 alone."""
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
    """S2: margin and test error along the drift, as far as they were measured."""
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
    """S3: ratio of the flatness to its value from the local curvature, against rank."""
    figure = new_figure("rank i", "F<sub>i</sub> √(H<sub>ii</sub>/8L₀)", log_x=True)
    add_points(figure, numbers(comparison.ranks), numbers(comparison.ratio), "measured over local", OWN)
    add_level(figure, 1, "ln L quadratic")
    return figure


def noise_against_curvature(layers: Sequence[NoiseAndCurvature]) -> go.Figure:
    """Gradient noise against curvature in each layer, in two bases."""
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
    """The ratio of Yaida's relation against rank."""
    figure = new_figure("rank i", "⟨θ ∂L⟩ / (D/2α)", log_x=True, log_y=True)
    ratio, ranks = numbers(yaida.ratio), ranks_of(len(yaida.ratio))
    add_points(figure, ranks[ratio > 0], ratio[ratio > 0], "ratio", OWN)
    add_points(figure, ranks[ratio < 0], -ratio[ratio < 0], "absolute value of a negative ratio", NULL)
    add_level(figure, 1, "stationary", at="start")
    return figure


def active_modes(activity: Activity, steps_per_epoch: int | None) -> go.Figure:
    """Number of modes with 99 % of the variance in each window."""
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
