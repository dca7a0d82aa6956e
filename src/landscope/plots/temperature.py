"""Figures 5A to D: active temperatures along modes, against flatness and over a training."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go
from torch import Tensor

from landscope.noise.gradient import GradientNoise
from landscope.noise.temperature import ActiveTemperature
from landscope.noise.temperature_over_training import TemperatureOverTraining
from landscope.plots.style import (
    FIT,
    OWN,
    PALETTE,
    add_line,
    logarithmic,
    new_figure,
    numbers,
    panels,
    ranks_of,
)

__all__ = [
    "temperature_against_flatness",
    "temperature_against_loss",
    "temperature_over_training",
    "temperature_profiles",
    "temperature_profiles_over_training",
]

_PALEST = 0.35
"""Opacity of the first step of a training; paler lines are hard to see."""


def temperature_profiles(along: ActiveTemperature, ranks: Tensor) -> go.Figure:
    """Fig. 5A: active temperature (left) and loss (right) along modes.

    Args:
        along: Temperature and loss along modes.
        ranks: Ranks of these modes, ``[k]``; the first four are drawn.

    Returns:
        A figure of T_i in units of the loss (left) and of the loss (right), both logarithmic, against the displacement
        in units of the weights.

    Example:
        >>> import torch
        >>> from landscope.noise import active_temperature
        >>> from landscope.synthetic import RandomSprings
        >>> springs, along = RandomSprings.draw(torch.tensor([1.0, 2.0]), 20, seed=0), torch.tensor([0.0, 0.5])
        >>> w0, axes = torch.zeros(2).double(), torch.eye(2).double()
        >>> found = active_temperature(springs, w0, axes, along, learning_rate=0.1)
        >>> [axis.title.text for axis in temperature_profiles(found, torch.tensor([1, 2])).select_yaxes()]
        ['active temperature T<sub>i</sub>', 'loss L']
    """
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
    """Fig. 5B: active temperature at w0 against rank and against flatness.

    Args:
        noise: Gradient noise along the modes.
        width: F_i of the same modes, ``[k]``, in units of the weights; NaN where it is not within reach.
        learning_rate: Learning rate alpha.

    Returns:
        A figure of T_i(0) in units of the loss against the rank (left) and against F_i in units of the weights (right),
        all logarithmic.
    """
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
    """Fig. 5C: active temperature along one mode at several checkpoints.

    Args:
        over_training: The temperatures over the training.

    Returns:
        A figure of T_i in units of the loss (logarithmic) against the displacement in units of the weights; later steps
        are darker.
    """
    figure = new_figure(f"displacement δθ, i = {over_training.drawn_rank}", "active temperature", log_y=True)
    shades = np.linspace(_PALEST, 1, max(2, len(over_training.profiles)))
    for profile, step, shade in zip(
        numbers(over_training.profiles), over_training.drawn_steps.tolist(), shades, strict=False
    ):
        color = f"rgba(31, 95, 168, {shade:.2f})"
        add_line(figure, numbers(over_training.displacements), profile, f"step {step:,.0f}", color)
    return figure


def temperature_over_training(over_training: TemperatureOverTraining) -> go.Figure:
    """Fig. 5D: loss and active temperatures over training.

    Args:
        over_training: The temperatures over the training.

    Returns:
        A figure of the loss and of the T_i in units of the loss against the step, both logarithmic.
    """
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
    """Fig. 5D, inset: active temperature against loss at the checkpoints.

    Args:
        over_training: The temperatures over the training.

    Returns:
        A figure of T_i(0) against the loss L, both in units of the loss and logarithmic, a curve for each mode.
    """
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
