"""Figure of the window without end: variance along the curvature, measured, expected, and in the limit."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go

from landscope.law.intervals import with_interval
from landscope.law.window_limit import WindowLimit
from landscope.plots.style import NULL, OWN, PROCESS, add_points, few_ticks, new_figure, numbers

__all__ = ["variance_along_curvature"]


def variance_along_curvature(limit: WindowLimit) -> go.Figure:
    """Variance against flatness along eigenvectors of the curvature, in the window and in a window without end.

    Both expectations are those of the order of the minibatches, which the names of the points say.
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
    return with_interval(limit.psi_infinity, limit.psi_infinity_interval)
