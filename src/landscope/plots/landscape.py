"""Figures 1 and 2: training, spectrum, path of the weights, profiles and flatness."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go
import torch

from landscope.directions.moving import moving
from landscope.landscape.flatness import Flatness
from landscope.landscape.profile import LossProfiles, ProfileFits
from landscope.law.exponents import Exponents
from landscope.law.spectrum import Spectrum
from landscope.plots.style import (
    FIT,
    FRESH,
    HEIGHT,
    NULL,
    OWN,
    PALETTE,
    WALK,
    add_level,
    add_line,
    add_points,
    logarithmic,
    new_figure,
    numbers,
    panels,
    ranks_of,
    two_axes,
)
from landscope.synthetic import random_walk_shares
from landscope.training_history import TrainingHistory

__all__ = [
    "accumulated_variance",
    "flatness_against_rank",
    "log_loss_profiles",
    "path_in_plane",
    "loss_profiles",
    "training_curves",
    "variance_spectrum",
]

_ROOM_FOR_A_LABEL = 0.12
"""Share of the height above L0 that the label of a level needs."""


def training_curves(
    history: TrainingHistory, spans: Sequence[tuple[str, int, int]], steps_per_epoch: int | None = None
) -> go.Figure:
    """Loss and errors during the training, with the windows of the analysis.

    Args:
        history: Losses and errors.
        spans: Name, first step and last step of each window.
        steps_per_epoch: Steps in an epoch; the axis counts steps where it is not known.

    Returns:
        A figure of the loss (left, logarithmic) and the errors in per cent (right) against steps or epochs, with a band
        for each window. Curves that were not measured are left out.

    Example:
        >>> import landscope as ls, torch
        >>> from landscope.training_history import TrainingHistory
        >>> loss, unknown = torch.tensor([2.0, 1.0]), torch.full((2,), torch.nan)
        >>> history = TrainingHistory(
        ...     steps=torch.tensor([10, 20]), train_loss=loss, train_error=loss / 4, test_loss=unknown,
        ...     test_error=unknown, minibatch_loss=torch.zeros(0),
        ... )
        >>> [curve.name for curve in training_curves(history, [("window", 11, 20)]).data]
        ['training loss', 'training error']
    """
    figure = two_axes("step" if steps_per_epoch is None else "epoch", "loss", "error (%)")
    figure.update_yaxes(**logarithmic(), secondary_y=False)
    unit = steps_per_epoch or 1
    time = numbers(history.steps) / unit
    for values, name, color, dash, second in (
        (history.train_loss, "training loss", OWN, "solid", False),
        (history.test_loss, "test loss", OWN, "dot", False),
        (100 * history.train_error, "training error", FRESH, "solid", True),
        (100 * history.test_error, "test error", FRESH, "dot", True),
    ):
        if not bool(torch.isfinite(values).any()):
            continue
        line = {"color": color, "dash": dash}
        figure.add_trace(go.Scatter(x=time, y=numbers(values), name=name, mode="lines", line=line), secondary_y=second)
    for (text, first, last), color in zip(spans, (OWN, FRESH), strict=False):
        figure.add_vrect(
            x0=(first - 1) / unit, x1=last / unit, fillcolor=color, opacity=0.08, line_width=0,
            annotation_text=text, annotation_position="top left",
        )  # fmt: skip
    return figure


def variance_spectrum(spectrum: Spectrum, surrogates: Sequence[Exponents]) -> go.Figure:
    """Fig. 1A: variance against rank, with the null models.

    Args:
        spectrum: The spectrum of the window.
        surrogates: Exponents of the shuffled increments, one for each draw; may be empty.

    Returns:
        A figure of sigma_i^2 in units of the weights squared against the rank, both logarithmic, beside fresh data, a
        random walk and the shuffled increments.
    """
    figure = new_figure("rank i", "variance σ<sub>i</sub>²", log_x=True, log_y=True)
    count = len(spectrum.variance)
    for number, law in enumerate(surrogates):
        figure.add_scatter(
            x=ranks_of(len(law.variance)), y=numbers(law.variance), name="shuffled increments", mode="lines",
            line={"color": NULL, "width": 2}, legendgroup="null", showlegend=number == 0,
        )  # fmt: skip
    walk = random_walk_shares(spectrum.n_steps, min(count, spectrum.n_steps - 1)) * spectrum.total_variance
    add_line(
        figure, ranks_of(len(walk)), numbers(walk), "random walk (expected for N ≫ T)", WALK, dash="dot", width=1.5
    )
    add_points(figure, ranks_of(count), numbers(spectrum.fresh_variance), "same modes, fresh data", FRESH, 3)
    add_points(figure, ranks_of(count), numbers(spectrum.variance), "in-sample", OWN, 3.5)
    _add_spectrum_law(figure, spectrum)
    _show_all_that_moves(figure, spectrum, surrogates)
    return figure


def _add_spectrum_law(figure: go.Figure, spectrum: Spectrum) -> None:
    """The fitted line, over the ranks fitted: least squares pass through the mean of the logarithms."""
    ranks, (first, last) = ranks_of(len(spectrum.variance)), spectrum.spectrum_ranks
    fitted = (ranks >= first) & (ranks <= last) & numbers(spectrum.moves)
    if math.isnan(spectrum.gamma) or not fitted.any():
        return
    ranks, variance = ranks[fitted].astype(float), numbers(spectrum.variance)[fitted]
    scale = np.exp(np.mean(np.log(variance) + spectrum.gamma * np.log(ranks)))
    ends = ranks[[0, -1]]
    add_line(figure, ends, scale * ends**-spectrum.gamma, f"γ = {spectrum.gamma:.2f}", FIT, width=2)


def _show_all_that_moves(figure: go.Figure, spectrum: Spectrum, surrogates: Sequence[Exponents]) -> None:
    """End the axis of the variance at the modes that move: still ones, near 1e-37, would flatten everything."""
    moved = [
        (spectrum.variance, spectrum.moves),
        (spectrum.fresh_variance, moving(spectrum.fresh_variance.nan_to_num())),
    ]
    moved += [(law.variance, law.moves) for law in surrogates]
    shown = np.log10(np.concatenate([numbers(variance[moves]) for variance, moves in moved]))
    if len(shown):
        figure.update_yaxes(range=[shown.min() - 0.5, shown.max() + 0.5])


def accumulated_variance(spectrum: Spectrum, surrogates: Sequence[Exponents]) -> go.Figure:
    """Fig. 1B: share of modes 2 to n in the variance without mode 1.

    Args:
        spectrum: The spectrum of the window.
        surrogates: Exponents of the shuffled increments, one for each draw; may be empty.

    Returns:
        A figure of the share, between 0 and 1, against the number of modes n (logarithmic), with the n that has 90 %.
    """
    figure = new_figure("number of modes n", "share of variance without mode 1", log_x=True)
    spectra = [(law.variance, law.total_variance, "shuffled increments", NULL) for law in surrogates]
    walk = random_walk_shares(spectrum.n_steps, min(len(spectrum.variance), spectrum.n_steps - 1))
    spectra += [(walk, 1.0, "random walk (expected for N ≫ T)", WALK)]
    spectra += [(spectrum.variance, spectrum.total_variance, "in-sample", OWN)]
    shown: set[str] = set()
    for variance, total, name, color in spectra:
        without_first = total - float(variance[0])
        if not without_first > 0:  # nothing moved
            continue
        share = numbers(variance[1:].cumsum(0)) / without_first
        figure.add_scatter(
            x=ranks_of(len(share), 2), y=share, name=name, mode="lines", legendgroup=name, showlegend=name not in shown,
            line={"color": color, "dash": "dot" if color == WALK else "solid"},
        )  # fmt: skip
        shown.add(name)
    add_level(figure, 0.9, "90 %", FIT)
    add_level(
        figure, spectrum.modes_for_90_percent, f"n = {spectrum.modes_for_90_percent}", FIT, upright=True, at="middle"
    )
    figure.update_yaxes(range=[0, 1.03])
    return figure


def path_in_plane(spectrum: Spectrum, first: int, second: int) -> go.Figure | None:
    """Fig. 1C and D: the path of the weights in the plane of two modes; None if a mode does not exist.

    Args:
        spectrum: The spectrum of the window, with the path along the modes drawn.
        first: Rank of the mode on the axis of x, from 1.
        second: Rank of the mode on the axis of y.

    Returns:
        A figure of theta against theta, both in units of the weights, coloured by the step; None if the path along one
        of the modes is not there.
    """
    if not {first, second} <= set(spectrum.drawn):
        return None
    columns = [spectrum.drawn.index(rank) for rank in (first, second)]
    figure = new_figure(f"θ<sub>{first}</sub>", f"θ<sub>{second}</sub>")
    x, y = (numbers(spectrum.path[:, column]) for column in columns)
    steps = numbers(spectrum.path_steps)
    figure.add_scatter(
        x=x, y=y, mode="lines+markers", line={"color": "rgba(120,120,120,0.35)", "width": 1}, showlegend=False,
        marker={"color": steps, "colorscale": "Viridis", "size": 4, "colorbar": {"title": "step", "thickness": 12}},
        text=[f"step {step}" for step in steps],
    )  # fmt: skip
    return figure


def loss_profiles(drawn: LossProfiles, ranks: Sequence[int], ratio: float = math.e) -> go.Figure:
    """Fig. 2A: the loss along a few modes, and the multiple of the loss at w0 at which flatness is read.

    Args:
        drawn: Profiles of the loss, one row for each mode.
        ranks: Ranks of these modes, which name the curves.
        ratio: Multiple of the loss at w0 at which flatness is read.

    Returns:
        A figure of the loss against the displacement along each mode in units of the weights, for the first four ranks;
        below it one plot for each metric.
    """
    if drawn.metric_names:
        return _with_metrics(drawn, ranks, ratio)
    figure = new_figure("displacement δθ", "loss L<sub>i</sub>")
    for row, (rank, color) in enumerate(zip(ranks, PALETTE, strict=False)):
        x, y = numbers(drawn.displacements[row]), numbers(drawn.loss[row])
        figure.add_scatter(x=x, y=y, name=f"i = {rank}", mode="lines+markers", marker={"size": 4, "color": color})
    level = ratio * drawn.loss0
    add_level(figure, level, "e L₀" if ratio == math.e else f"{ratio:g} L₀")
    # Without room above it, a level over all profiles lies on the edge, and its label is cut off.
    figure.update_yaxes(autorangeoptions={"include": level + _ROOM_FOR_A_LABEL * (level - drawn.loss0)})
    return figure


def _with_metrics(drawn: LossProfiles, ranks: Sequence[int], ratio: float) -> go.Figure:
    """The loss, and below it each metric at the same points."""
    names = ("loss L<sub>i</sub>", *drawn.metric_names)
    figure = panels(len(names), 1, shared_xaxes=True, vertical_spacing=0.06)
    for place, (name, values) in enumerate(zip(names, (drawn.loss, *drawn.metric_values), strict=True), start=1):
        for row, (rank, color) in enumerate(zip(ranks, PALETTE, strict=False)):
            figure.add_scatter(
                x=numbers(drawn.displacements[row]), y=numbers(values[row]), name=f"i = {rank}", mode="lines+markers",
                marker={"size": 4, "color": color}, line={"color": color}, legendgroup=str(rank),
                showlegend=place == 1, row=place, col=1,
            )  # fmt: skip
        figure.update_yaxes(title_text=name, row=place, col=1)
    figure.update_xaxes(title_text="displacement δθ", row=len(names), col=1)
    add_level(figure, ratio * drawn.loss0, "e L₀" if ratio == math.e else f"{ratio:g} L₀", row=1, col=1)
    figure.update_layout(height=HEIGHT + 160 * len(drawn.metric_names))
    return figure


def log_loss_profiles(drawn: LossProfiles, fits: ProfileFits, ranks: Sequence[int], flatness: Flatness) -> go.Figure:
    """Fig. 2B: the log-loss along one mode, with both fits, their residuals and the flatness.

    Args:
        drawn: Profiles of the loss, one row for each mode.
        fits: Fits to these profiles.
        ranks: Ranks of these modes; the middle one of three or more is drawn, else the first.
        flatness: Flatness of the modes, from the first.

    Returns:
        A figure of ln L against the displacement in units of the weights, with both fits and a bar as long as F_i;
        below it their residuals.
    """
    row = len(ranks) // 2 if len(ranks) > 2 else 0
    figure = panels(2, 1, shared_xaxes=True, row_heights=[0.68, 0.32], vertical_spacing=0.05)
    x, loss = numbers(drawn.displacements[row]), numbers(drawn.loss[row])
    log_fit = float(fits.log_offset[row]) + float(fits.log_slope[row]) * x + float(fits.log_curvature[row]) * x**2 / 2
    quadratic = float(fits.offset[row]) + float(fits.slope[row]) * x + float(fits.curvature[row]) * x**2 / 2
    quadratic = np.log(np.maximum(quadratic, drawn.loss0 / 100))
    figure.add_scatter(
        x=x, y=np.log(loss), name=f"ln L, i = {ranks[row]}", mode="markers", marker={"color": OWN, "size": 6}
    )
    for values, name, color in ((log_fit, "inverse Gaussian", FIT), (quadratic, "quadratic", "#2e7d32")):
        line = {"color": color, "dash": "dash"}
        figure.add_scatter(x=x, y=values, name=name, mode="lines", line=line, legendgroup=name)
        figure.add_scatter(
            x=x, y=np.log(loss) - values, mode="lines+markers", line=line, marker={"size": 4}, legendgroup=name,
            showlegend=False, row=2, col=1,
        )  # fmt: skip
    left, right = float(flatness.left[ranks[row] - 1]), float(flatness.right[ranks[row] - 1])
    if math.isfinite(right - left):
        level = np.log(drawn.loss0) + np.log(flatness.ratio)
        figure.add_scatter(
            x=[left, right], y=[level, level], name=f"F = {right - left:.3g}", mode="lines+markers",
            line={"color": WALK}, marker={"symbol": "line-ns-open", "size": 12},
        )  # fmt: skip
    figure.update_yaxes(title_text="ln L", row=1, col=1)
    figure.update_yaxes(title_text="residual", row=2, col=1)
    figure.update_xaxes(title_text="displacement δθ", row=2, col=1)
    return figure


def flatness_against_rank(flatness: Flatness, surrogates: Sequence[Exponents]) -> go.Figure:
    """Fig. 2C: flatness against rank.

    Args:
        flatness: Flatness of the modes.
        surrogates: Exponents of the shuffled increments, one for each draw; may be empty.

    Returns:
        A figure of F_i in units of the weights against the rank, both logarithmic. Modes whose flatness is not within
        reach are left out.
    """
    figure = new_figure("rank i", "flatness F<sub>i</sub>", log_x=True, log_y=True)
    for number, law in enumerate(surrogates):
        kept = numbers(law.bracketed)
        figure.add_scatter(
            x=ranks_of(len(kept))[kept], y=numbers(law.width)[kept], name="shuffled increments", mode="markers",
            marker={"color": NULL, "size": 3}, legendgroup="null", showlegend=number == 0,
        )  # fmt: skip
    kept = numbers(flatness.bracketed)
    add_points(figure, ranks_of(len(kept))[kept], numbers(flatness.width)[kept], "in-sample modes", OWN)
    return figure
