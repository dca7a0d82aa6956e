"""Figures of the limit of a run: variance beside relaxation, and psi in growing windows."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import plotly.graph_objects as go

from landscope.law.run_limit import RunLimit
from landscope.law.window_growth import Growth
from landscope.law.window_limit import WindowLimit
from landscope.plots.style import (
    FIT,
    FRESH,
    NULL,
    OWN,
    PALETTE,
    WALK,
    add_level,
    add_line,
    add_points,
    few_ticks,
    new_figure,
    numbers,
)

__all__ = ["psi_against_window", "psi_in_growing_windows", "variance_and_relaxation"]


def variance_and_relaxation(limit: RunLimit) -> go.Figure:
    """Variance against flatness, measured and as the local and the effective curvature give it in the same window.

    Args:
        limit: The limit of the run.

    Returns:
        A figure of sigma_i^2 in units of the weights squared against F_i in units of the weights, both logarithmic;
        with the window without end where it is identified.

    Example:
        >>> import landscope as ls, torch
        >>> from landscope.synthetic import QuadraticBowl, sgd_in_bowl
        >>> curvature = torch.logspace(0, -1, 10).double()
        >>> window = ls.Trajectory.of(sgd_in_bowl(curvature, 400, learning_rate=0.1, noise_variance=1.0, seed=0))
        >>> axes, bowl = ls.directions.Directions.of(torch.eye(10)), QuadraticBowl(curvature)
        >>> F = ls.flatness(bowl, torch.zeros(10).double(), axes)
        >>> force = ls.noise.effective_curvature(window, bowl, axes)
        >>> figure = variance_and_relaxation(ls.law.run_limit(axes, window, F, force, learning_rate=0.1))
        >>> figure.data[0].name, len(figure.data[0].x)
        ('measured', 10)
    """
    figure = new_figure("flatness F<sub>i</sub>", "variance σ<sub>i</sub>²", log_x=True, log_y=True)
    width = numbers(limit.width[limit.used])
    series = [
        ("measured", limit.variance[-1], OWN),
        ("from H<sub>ii</sub>", limit.predicted_local[-1], NULL),
        ("from λ<sub>eff</sub>", limit.predicted[-1], FRESH),
    ]
    if limit.is_identified:
        series.append((f"window without end, ψ<sub>∞</sub> of the run = {limit.psi_infinity:.2f}", limit.limit, FIT))
    for name, values, color in series:
        add_points(figure, width, numbers(values[limit.used]), name, color, 5)
    few_ticks(figure)
    return figure


def psi_against_window(limits: Mapping[str, RunLimit]) -> go.Figure:
    """Exponent against the length of the window, measured and from the effective curvature, with its limit.

    Args:
        limits: Limits of runs, by the name of each.

    Returns:
        A figure of psi, without unit, with 95 % bars against the length of the window in steps (logarithmic).
    """
    figure = new_figure("window (steps)", "ψ(T)", log_x=True)
    for (name, limit), color in zip(limits.items(), PALETTE, strict=False):
        x, reach = numbers(limit.length), 1.96 * numbers(limit.psi_stderr)
        figure.add_scatter(
            x=x, y=numbers(limit.psi), name=name, mode="markers", marker={"color": color, "size": 7},
            error_y={"type": "data", "array": reach, "color": color},
        )  # fmt: skip
        add_line(figure, x, numbers(limit.psi_predicted), f"{name}, from λ<sub>eff</sub>", color, dash="dot")
        if limit.is_identified:
            add_level(figure, limit.psi_infinity, "ψ<sub>∞</sub> of the run", color)
    add_level(figure, 0, color=WALK, dash="solid")
    return figure


def psi_in_growing_windows(growth: Growth, limit: WindowLimit | None = None) -> go.Figure:
    """Exponent against the length of the window over all that was recorded, along Hessian eigenvectors.

    The level is the limit of a stationary process with the run's own noise and curvature, where it is given.

    Args:
        growth: Exponents in windows of each length.
        limit: The limit of a stationary process; no level is drawn if None.

    Returns:
        A figure of psi, without unit, with its interval against the length in epochs (logarithmic).
    """
    figure = new_figure("window (epochs)", "ψ(T)", log_x=True)
    psi, (low, high) = numbers(growth.psi), numbers(growth.psi_interval.T)
    figure.add_scatter(
        x=numbers(growth.epochs), y=psi, name="the run", mode="lines+markers", line={"color": OWN},
        error_y={"type": "data", "array": np.nan_to_num(high - psi), "arrayminus": np.nan_to_num(psi - low)},
    )  # fmt: skip
    if limit is not None and np.isfinite(limit.psi_infinity):
        add_level(figure, limit.psi_infinity, "ψ<sub>∞</sub> of the process", FIT, at="start")
    add_level(figure, 0, color=WALK, dash="solid")
    return figure
