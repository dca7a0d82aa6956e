"""Figures of the controls: exponents, samplings against the theory of epoch noise, window growth, equilibrium."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import plotly.graph_objects as go
import torch
from torch import Tensor

from landscope.law.equilibrium import Equilibrium
from landscope.law.exponents import Exponents
from landscope.law.one_window import OneWindow
from landscope.law.window_growth import Growth
from landscope.noise.mode_statistics import ModeStatistics
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
    panels,
    ranks_of,
)
from landscope.surrogates.epoch_noise import crossover_curvature, epoch_noise_time

__all__ = [
    "correlation_time_by_sampling",
    "equilibrium",
    "exponents",
    "variance_after_correction",
    "variance_against_window",
]


def exponents(rows: Sequence[Exponents]) -> go.Figure:
    """The exponents psi, psi_D and psi_tau of every row of the table, with intervals.

    Args:
        rows: Exponents of each row, named by ``row.name``.

    Returns:
        A figure of three plots, for psi, psi_D and psi_tau (without unit), with a row for each name. A dashed line has
        the value of the paper.

    Example:
        >>> import landscope as ls, torch
        >>> from landscope.synthetic import InverseGaussian, sgd_in_bowl
        >>> curvature = torch.logspace(0, 1, 8).double()
        >>> window = ls.Trajectory.of(sgd_in_bowl(curvature, 400, learning_rate=0.1, noise_variance=1e-4, seed=0))
        >>> modes = ls.principal_modes(window)
        >>> F = ls.flatness(InverseGaussian(curvature), torch.zeros(8).double(), modes.directions)
        >>> figure = exponents([ls.variance_flatness(modes, window, F, fit_modes=(1, 8))])
        >>> list(figure.data[0].y)
        ['principal modes']
    """
    figure = panels(1, 3, shared_yaxes=True, horizontal_spacing=0.05)
    names = [row.name for row in rows]
    exponents = (("psi", "ψ", 4), ("psi_D", "ψ<sub>D</sub>", 2), ("psi_tau", "ψ<sub>τ</sub>", 1.8))
    for column, (key, title, paper) in enumerate(exponents, start=1):
        values = np.array([getattr(row, key) for row in rows])
        reach = np.array([getattr(row, f"{key}_interval")[1] for row in rows]) - values
        figure.add_scatter(
            x=values, y=names, mode="markers", marker={"color": OWN, "size": 7}, showlegend=False,
            error_x={"type": "data", "array": np.nan_to_num(reach), "color": NULL}, row=1, col=column,
        )  # fmt: skip
        add_level(figure, paper, color=FIT, upright=True, row=1, col=column)
        add_level(figure, 0, dash="solid", upright=True, row=1, col=column)
        figure.update_xaxes(title_text=title, row=1, col=column)
    figure.update_yaxes(autorange="reversed")
    figure.update_layout(height=100 + 26 * len(rows))
    return figure


def correlation_time_by_sampling(
    rows: Mapping[str, Exponents],
    ranks: Tensor,
    curvature: Tensor,
    learning_rate: float,
    batches_per_epoch: int,
    momentum: float,
) -> go.Figure | None:
    """Correlation time against curvature for several samplings, with the theory of their order for plain SGD.

    Args:
        rows: Exponents of each sampling, by its name.
        ranks: Ranks of the modes, ``[k]``, from 1.
        curvature: H_ii of these modes, ``[k]``, loss over weights squared.
        learning_rate: Learning rate alpha.
        batches_per_epoch: Minibatches M in an epoch.
        momentum: Momentum beta; with momentum, or where it is NaN, no theory is drawn.

    Returns:
        A figure of tau_i in steps against H_ii, both logarithmic; None if no curvature is positive.
    """
    if not bool((curvature > 0).any()):
        return None
    figure = new_figure("curvature H<sub>ii</sub>", "correlation time τ<sub>i</sub> (steps)", log_x=True, log_y=True)
    kept = curvature > 1e-5 * curvature.max()  # a smaller curvature is not resolved in float32
    for (name, row), color in zip(rows.items(), PALETTE, strict=False):
        add_points(figure, numbers(curvature[kept]), numbers(row.correlation_time[ranks - 1][kept]), name, color, 5)
    reach = curvature[kept]
    grid = torch.logspace(float(reach.min().log10()), float(reach.max().log10()), 60, dtype=torch.float64)
    grid = grid[learning_rate * grid < 1.9]
    theories = ((True, "theory, reshuffled", "solid"), (False, "theory, with replacement", "dot"))
    for reshuffled, name, dash in () if momentum else theories:
        tau = epoch_noise_time(
            grid, learning_rate=learning_rate, batches_per_epoch=batches_per_epoch, reshuffled=reshuffled
        )
        add_line(figure, numbers(grid), numbers(tau), name, WALK, dash=dash, width=1.5)
    figure.update_xaxes(range=[float(reach.min().log10()) - 0.2, float(reach.max().log10()) + 1])
    crossover = crossover_curvature(learning_rate, batches_per_epoch, momentum)
    if math.isfinite(crossover):
        add_level(figure, crossover, "crossover 3(1−β)/(αM)", FIT, upright=True, at="middle")
    return figure


def variance_against_window(window_growth: Growth) -> go.Figure:
    """Variance against the length of the window, along the sharpest and the flattest Hessian eigenvectors.

    Args:
        window_growth: Variances in windows of each length.

    Returns:
        A figure of sigma^2 over its value in the shortest window, without unit, against the length in epochs, both
        logarithmic; the names have the exponents.
    """
    figure = new_figure("window (epochs)", "σ² / σ² of the shortest window", log_x=True, log_y=True)
    order = torch.argsort(torch.nan_to_num(window_growth.width, nan=float("inf")))
    quarter = max(1, len(order) // 4)
    relative = window_growth.variance / window_growth.variance[0]
    for part, name, color, slope in (
        (order[:quarter], "sharpest quarter", FRESH, window_growth.sharp_exponent),
        (order[-quarter:], "flattest quarter", OWN, window_growth.flat_exponent),
    ):
        middle = relative[:, part].median(dim=1).values
        add_line(figure, numbers(window_growth.epochs), numbers(middle), f"{name}, exponent {slope:.2f}", color)
    add_line(
        figure,
        numbers(window_growth.epochs),
        numbers(window_growth.epochs / window_growth.epochs[0]),
        "free diffusion",
        WALK,
        dash="dot",
    )
    return figure


def variance_after_correction(correction: OneWindow, fresh: ModeStatistics | None = None) -> go.Figure:
    """Variance against rank: in-sample, as one window predicts the next, and in the next window.

    Args:
        correction: The correction.
        fresh: Statistics of fresh data along the same modes, where there are any.

    Returns:
        A figure of sigma_i^2 in units of the weights squared against the rank, both logarithmic.
    """
    figure = new_figure("rank i", "variance σ<sub>i</sub>²", log_x=True, log_y=True)
    rank = ranks_of(len(correction.corrected))
    add_points(figure, rank, numbers(correction.variance), "in-sample", OWN)
    if fresh is not None:
        add_points(figure, rank, numbers(fresh.variance[: len(rank)]), "fresh data", FRESH)
    name = "predicted from one window" + (", too large: the weights drift" if correction.drift_reason else "")
    add_line(figure, rank, numbers(correction.corrected), name, WALK)
    if correction.separable_reason:
        name = f"separable model: not applicable ({correction.separable_reason.split(':')[0]})"
        figure.add_scatter(x=[None], y=[None], name=name, mode="lines", line={"color": FIT, "dash": "dot"})
    else:
        add_line(figure, rank, numbers(correction.separable), _separable_name(correction), FIT, dash="dot")
    return figure


def _separable_name(correction: OneWindow) -> str:
    known = correction.overlap[torch.isfinite(correction.overlap)]
    overlap = f" (modes are {float(known.median()):.0%} of the population's)" if len(known) else ""
    return f"predicted, separable model{overlap}"


def equilibrium(run: Exponents, control: Exponents, expected: Equilibrium) -> go.Figure:
    """Variance against flatness along Hessian eigenvectors, of the run and of isotropic noise in the same window.

    Args:
        run: Exponents of the run along Hessian eigenvectors.
        control: The same of isotropic Langevin noise.
        expected: The variance that isotropic noise has in such a window.

    Returns:
        A figure of sigma_i^2 in units of the weights squared against F_i in units of the weights, both logarithmic. The
        control and its expectation are shifted to the middle of the run, because the strength of their noise is free.
    """
    figure = new_figure("flatness F<sub>i</sub>", "variance σ<sub>i</sub>²", log_x=True, log_y=True)
    # The strength of the noise is free: both are drawn about the same middle.
    middle = [row.variance[row.used].log().mean() for row in (run, control)]
    shift = float((middle[0] - middle[1]).exp())
    for row, name, color, scale in (
        (run, "the run (SGD)", OWN, 1.0), (control, "isotropic Langevin", FRESH, shift)
    ):  # fmt: skip
        x, y = numbers(row.width[row.used]), numbers(row.variance[row.used] * scale)
        add_points(figure, x, y, f"{name}, ψ = {row.psi:.2f}", color, 5)
    used = expected.used
    order = torch.argsort(expected.width[used])
    x, y = numbers(expected.width[used][order]), numbers(expected.expected[used][order] * shift)
    figure.add_scatter(
        x=x, y=y, mode="lines", name=f"its expectation, ψ = {expected.psi_expected:.2f}",
        line={"color": FRESH, "width": 1},
    )  # fmt: skip
    few_ticks(figure)
    return figure
