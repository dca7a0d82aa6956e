"""Figure of the window without end: variance along the curvature, measured, expected, and in the limit."""

from __future__ import annotations

import math

import numpy as np
import plotly.graph_objects as go

from landscope.law.intervals import with_interval
from landscope.law.window_limit import WindowLimit
from landscope.plots.style import NULL, OWN, PROCESS, add_points, few_ticks, new_figure, numbers

__all__ = ["variance_along_curvature"]


def variance_along_curvature(limit: WindowLimit) -> go.Figure:
    """Variance against flatness along eigenvectors of the curvature, in the window and in a window without end.

    Both expectations are those of the order of the minibatches, which the names of the points say.

    Args:
        limit: The limit of a stationary process.

    Returns:
        A figure of sigma_k^2 in units of the weights squared against F_k in units of the weights, both logarithmic.

    Example:
        >>> import landscope as ls, torch
        >>> from landscope.synthetic import InverseGaussian, autoregressive
        >>> curvature = torch.logspace(0, -2, 20).double()
        >>> path = autoregressive(1 - 0.1 * curvature, 400, seed=0, noise_variance=curvature)
        >>> axes = ls.directions.Directions.of(torch.eye(20), values=curvature)
        >>> F = ls.flatness(InverseGaussian(curvature), torch.zeros(20).double(), axes)
        >>> figure = variance_along_curvature(ls.law.window_limit(axes, ls.Trajectory.of(path), F, learning_rate=0.1))
        >>> len(figure.data)
        3
    """
    figure = new_figure("flatness F<sub>k</sub>", "variance σ<sub>k</sub>²", log_x=True, log_y=True)
    used = numbers(limit.used).astype(bool)
    x = numbers(limit.width)[used]
    order = "reshuffled" if limit.steps_per_epoch else "independent"  # a longer legend would leave a narrow plot
    for values, name, color in (
        (limit.predicted, f"expected in the window, {order}, ψ = {limit.psi_predicted:.2f}", NULL),
        (limit.limit, f"window without end, {order}, ψ<sub>∞</sub> of the process = {_exponent(limit)}", PROCESS),
        (limit.variance, f"measured, ψ = {limit.psi:.2f}", OWN),
    ):
        y = numbers(values)[used]
        there = np.isfinite(y)
        add_points(figure, x[there], y[there], name, color, 5)
    few_ticks(figure)
    return figure


def _exponent(limit: WindowLimit) -> str:
    text = with_interval(limit.psi_infinity, limit.psi_infinity_interval)
    has_none = math.isnan(limit.psi_infinity_interval[0]) and not math.isnan(limit.psi_infinity)
    return f"{text} (no interval)" if has_none else text
