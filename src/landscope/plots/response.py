"""Figures of twin trainings: response beside correlation, and the temperature that both give."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Float
from torch import Tensor

from landscope.noise.response import DirectResponse
from landscope.plots.style import FRESH, NULL, OWN, PALETTE, add_level, add_line, add_points, new_figure, numbers

__all__ = ["response_and_correlation", "response_temperature"]

_DRAWN = 4


def response_and_correlation(found: DirectResponse) -> go.Figure:
    """The response to a kick (solid) and the autocorrelation (dotted) of a few modes against the lag."""
    figure = new_figure("lag t (steps)", "χ(t) and C(t)/C(0)")
    count = len(found.kick)
    drawn = np.unique(np.linspace(0, count - 1, min(_DRAWN, count)).round().astype(int))
    lags = np.arange(found.response.shape[1])
    for row, color in zip(drawn.tolist(), PALETTE, strict=False):
        name = f"mode {int(found.ranks[row])}"
        add_line(figure, lags, numbers(found.response[row]), f"χ, {name}", color)
        correlation = found.correlation[row] / found.correlation[row, 0]
        add_line(figure, lags, numbers(correlation), f"C, {name}", color, dash="dot")
    add_level(figure, 0, dash="solid")
    return figure


def response_temperature(found: DirectResponse, width: Float[Tensor, " k"]) -> go.Figure:
    """The temperature of fluctuation and response against flatness, beside that of the noise alone."""
    figure = new_figure("flatness F<sub>i</sub>", "T<sub>eff,i</sub>", log_x=True, log_y=True)
    x, y = numbers(width), numbers(found.temperature)
    add_points(figure, x, numbers(found.noise_temperature), "noise alone, D/2α", NULL, 6)
    add_points(figure, x, y, "fluctuation over response", OWN, 7)
    bars = {"type": "data", "array": np.nan_to_num(numbers(found.temperature_stderr)), "color": OWN}
    figure.data[-1].error_y = bars
    drifts = numbers(found.drift_share) > _MUCH_DRIFT
    add_points(figure, x[drifts], y[drifts], "mostly drift", FRESH, 4)
    return figure


_MUCH_DRIFT = 0.5
"""Share of the displacement that a steady drift makes, above which a mode drifts more than it diffuses."""
