"""Figures of the gradient noise scale, whose intervals may have no upper end."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go

from landscope.noise.scale import NoiseScale
from landscope.noise.temperature_over_training import TemperatureOverTraining
from landscope.plots.style import (
    FRESH,
    NULL,
    OWN,
    STEPS,
    add_line,
    logarithmic,
    new_figure,
    numbers,
    places_of,
    two_axes,
)

__all__ = ["noise_scale", "noise_scale_over_training"]

_FEW = 12


def noise_scale(found: NoiseScale) -> go.Figure:
    """Noise scale of the whole gradient, and along directions where it was measured, with their intervals.

    Args:
        found: The noise scale.

    Returns:
        A figure of the noise scale in samples (logarithmic) against the rank, with 0 for the whole gradient, beside the
        batch size.

    Example:
        >>> import landscope as ls, torch
        >>> from landscope.synthetic import RandomSprings
        >>> springs = RandomSprings.draw(torch.tensor([1.0, 2.0]), 100, seed=0)
        >>> found = ls.noise.noise_scale(springs, torch.ones(2).double(), batch_size=1)
        >>> [curve.name for curve in noise_scale(found).data]
        ['95 % interval', 'batch size, 1']
    """
    figure = new_figure("rank i (0: whole gradient)", "noise scale (samples)", log_y=True)
    values = np.concatenate([[found.value], numbers(found.along)])
    ends = np.concatenate([[found.confidence_interval], numbers(found.along_interval)])
    _add_intervals(figure, np.arange(len(values)), values, ends, f"{100 * found.confidence_level:g} % interval")
    add_line(
        figure,
        np.array([-0.5, len(values) - 0.5]),
        np.full(2, found.batch_size),
        f"batch size, {found.batch_size}",
        NULL,
        dash="dash",
        width=1,
    )
    figure.update_xaxes(range=[-0.5, len(values) - 0.5], **({"dtick": 1} if len(values) <= _FEW else {}))
    return figure


def noise_scale_over_training(found: TemperatureOverTraining) -> go.Figure:
    """Noise scale with its intervals over the training, beside the batch size, and the directions of the noise.

    Args:
        found: The temperatures over the training, with the noise scale.

    Returns:
        A figure of the noise scale in samples (left, logarithmic) and the number of directions with 99 % of the noise
        (right) against the step (logarithmic).
    """
    figure = two_axes(STEPS, "noise scale tr Σ/|G|² (samples)", "noise directions (99 %)")
    x = places_of(found.steps)
    _add_intervals(
        figure, x, numbers(found.noise_scale), numbers(found.noise_scale_interval), "noise scale, 95 % interval"
    )
    figure.add_scatter(
        x=x, y=np.full(len(x), float(found.batch_size)), name=f"batch size, {found.batch_size}", mode="lines",
        line={"color": NULL, "dash": "dash", "width": 1},
    )  # fmt: skip
    figure.add_scatter(
        x=x, y=numbers(found.noise_dimension), name="directions with 99 % of the noise", mode="lines",
        line={"color": FRESH, "width": 1}, yaxis="y2",
    )  # fmt: skip
    figure.update_xaxes(**logarithmic())
    figure.update_yaxes(**logarithmic(), secondary_y=False)
    return figure


def _add_intervals(figure: go.Figure, x: np.ndarray, values: np.ndarray, ends: np.ndarray, name: str) -> None:
    """Points with their intervals.

    A triangle stands at the lower end where there is no upper one; an open circle where there is neither.
    """
    low, high = ends.T
    is_open = ~np.isfinite(high)
    is_unknown = is_open & ~(low > 0)
    there = np.isfinite(values) & ~is_unknown
    above, below = np.where(is_open, 0, high - np.where(there, values, 0)), np.where(there, values - low, 0)
    figure.add_scatter(
        x=x[there], y=values[there], name=name, mode="markers", marker={"color": OWN, "size": 7},
        error_y={"type": "data", "array": above[there], "arrayminus": below[there], "thickness": 1, "width": 3},
    )  # fmt: skip
    bounded, unknown = is_open & ~is_unknown, is_unknown & np.isfinite(values)
    for shown, y, words, symbol, size in (
        (bounded, low, "no upper end: at least this", "triangle-up-open", 10),
        (unknown, values, "interval from 0 without end: not known", "circle-open", 7),
    ):
        if shown.any():
            marker = {"color": OWN, "size": size, "symbol": symbol}
            figure.add_scatter(x=x[shown], y=y[shown], name=words, mode="markers", marker=marker)
