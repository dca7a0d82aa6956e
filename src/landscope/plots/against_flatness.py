"""Figures 2D and 3: variance, noise and correlation time against flatness."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

from landscope.law.exponents import Exponents
from landscope.plots.style import (
    FRESH,
    NULL,
    OWN,
    PROCESS,
    WALK,
    add_line,
    add_points,
    few_ticks,
    new_figure,
    numbers,
)

__all__ = [
    "correlation_time_against_flatness",
    "noise_against_flatness",
    "variance_against_flatness",
]


def variance_against_flatness(
    in_sample: Exponents,
    fresh: Exponents | None,
    nulls: Sequence[Exponents],
    processes: Sequence[Exponents] = (),
) -> go.Figure:
    """Fig. 2D: variance against flatness, in-sample, in fresh data, for shuffled increments and for a process.

    Args:
        in_sample: Exponents of the window, along its own modes.
        fresh: The same in fresh data along the same modes; None where there are none.
        nulls: Exponents of the shuffled increments, one for each draw; may be empty.
        processes: Exponents of the finite-window process, one for each draw; may be empty.

    Returns:
        A figure of sigma_i^2 in units of the weights squared against F_i in units of the weights, both logarithmic,
        with a fitted line for the window and for fresh data where at least three modes count.

    Example:
        >>> import landscope as ls, torch
        >>> from landscope.synthetic import InverseGaussian, sgd_in_bowl
        >>> curvature = torch.logspace(0, 1, 8).double()
        >>> window = ls.Trajectory.of(sgd_in_bowl(curvature, 400, learning_rate=0.1, noise_variance=1e-4, seed=0))
        >>> modes = ls.principal_modes(window)
        >>> F = ls.flatness(InverseGaussian(curvature), torch.zeros(8).double(), modes.directions)
        >>> figure = variance_against_flatness(ls.variance_flatness(modes, window, F, fit_modes=(1, 8)), None, ())
        >>> figure.layout.xaxis.title.text
        'flatness F<sub>i</sub>'
    """
    return _by_flatness("variance σ<sub>i</sub>²", "variance", "psi", "ψ", in_sample, fresh, nulls, processes)


def noise_against_flatness(
    in_sample: Exponents,
    fresh: Exponents | None,
    nulls: Sequence[Exponents],
    processes: Sequence[Exponents] = (),
) -> go.Figure:
    """Fig. 3B, D: velocity variance against flatness.

    Args:
        in_sample: Exponents of the window, along its own modes.
        fresh: The same in fresh data along the same modes; None where there are none.
        nulls: Exponents of the shuffled increments, one for each draw; may be empty.
        processes: Exponents of the finite-window process, one for each draw; may be empty.

    Returns:
        A figure of D_i in units of the weights squared against F_i in units of the weights, both logarithmic, with
        fitted lines.
    """
    title, symbol = "velocity variance D<sub>i</sub>", "ψ<sub>D</sub>"
    return _by_flatness(title, "velocity_variance", "psi_D", symbol, in_sample, fresh, nulls, processes)


def correlation_time_against_flatness(
    in_sample: Exponents,
    fresh: Exponents | None,
    nulls: Sequence[Exponents],
    processes: Sequence[Exponents] = (),
    white_time: float | None = None,
) -> go.Figure:
    """Fig. 3B, tau: correlation time against flatness, with the value for white velocities in fresh data.

    Args:
        in_sample: Exponents of the window, along its own modes.
        fresh: The same in fresh data along the same modes; None where there are none.
        nulls: Exponents of the shuffled increments, one for each draw; may be empty.
        processes: Exponents of the finite-window process, one for each draw; may be empty.
        white_time: tau in steps of white velocities in fresh data; not drawn if None.

    Returns:
        A figure of tau_i in steps against F_i in units of the weights, both logarithmic, with fitted lines.
    """
    figure = _by_flatness(
        "correlation time τ<sub>i</sub> (steps)",
        "correlation_time",
        "psi_tau",
        "ψ<sub>τ</sub>",
        in_sample,
        fresh,
        nulls,
        processes,
    )
    flatness = numbers(in_sample.width[in_sample.used])
    if white_time is not None and len(flatness):
        ends = np.array([flatness.min(), flatness.max()])  # a label at the line would lie over points
        add_line(figure, ends, np.full(2, white_time), "white, fixed directions", WALK, dash="dot", width=1.5)
    return figure


def _by_flatness(
    title: str,
    quantity: str,
    exponent: str,
    symbol: str,
    in_sample: Exponents,
    fresh: Exponents | None,
    nulls: Sequence[Exponents],
    processes: Sequence[Exponents],
) -> go.Figure:
    figure = new_figure("flatness F<sub>i</sub>", title, log_x=True, log_y=True)
    for laws, name, color in ((nulls, "shuffled increments", NULL), (processes, "finite-window process", PROCESS)):
        for number, law in enumerate(laws):
            figure.add_scatter(
                x=numbers(law.width[law.used]), y=numbers(getattr(law, quantity)[law.used]), name=name,
                mode="markers", marker={"color": color, "size": 3}, legendgroup=name, showlegend=number == 0,
            )  # fmt: skip
    measured = [
        (law, *rest) for law, *rest in ((fresh, "fresh data", FRESH), (in_sample, "in-sample", OWN)) if law is not None
    ]
    for law, name, color in measured:
        x, y = numbers(law.width[law.used]), numbers(getattr(law, quantity)[law.used])
        add_points(figure, x, y, name, color)
    for law, name, color in reversed(measured):
        slope = getattr(law, exponent)
        if law.n_used < 3:
            continue
        x, y = numbers(law.width[law.used]), numbers(getattr(law, quantity)[law.used])
        ends, middle = np.array([x.min(), x.max()]), np.exp(np.mean(np.log(y) + slope * np.log(x)))
        add_line(figure, ends, middle * ends**-slope, f"{symbol} = {slope:.2f} ({name})", color, width=2)
    few_ticks(figure)
    return figure
