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
    """The response to a kick (solid) and the autocorrelation (dotted) of a few modes against the lag.

    Args:
        found: The response and the fluctuations.

    Returns:
        A figure of chi_i(t) and C_i(t)/C_i(0), both without unit, against the lag in steps.

    Example:
        >>> import landscope as ls, torch
        >>> a, steps = torch.tensor([0.5, 0.9]).double(), torch.arange(101)[:, None]
        >>> path = ls.synthetic.autoregressive(a, 202, seed=0).reshape(2, 101, 2)
        >>> pair, half = (torch.stack([path + e * a**steps, path - e * a**steps], dim=1) for e in (1, 0.5))
        >>> found = ls.noise.direct_response(path, pair, half, torch.ones(2), learning_rate=0.1, n_lags=20)
        >>> [curve.name for curve in response_and_correlation(found).data]
        ['χ, mode 1', 'C, mode 1', 'χ, mode 2', 'C, mode 2']
    """
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
    """The temperature of fluctuation and response against flatness, beside that of the noise alone.

    Args:
        found: The response and the fluctuations.
        width: F_i of the same modes, ``[k]``, in units of the weights.

    Returns:
        A figure of T_eff,i in units of the loss against F_i in units of the weights, both logarithmic. Modes that
        mostly drift have a mark.
    """
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
