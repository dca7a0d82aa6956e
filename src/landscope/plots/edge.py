"""Figures of the edge of stability."""

from __future__ import annotations

import plotly.graph_objects as go
import torch
from torch import Tensor

from landscope.noise.edge_of_stability import EdgeOfStability
from landscope.noise.oscillation import oscillation_share
from landscope.plots.style import (
    FIT,
    FRESH,
    NULL,
    OWN,
    add_level,
    logarithmic,
    numbers,
    panels,
    ranks_of,
)

__all__ = ["oscillation_by_direction"]


def oscillation_by_direction(edge: EdgeOfStability) -> go.Figure:
    """Share of oscillation against alpha lambda along eigenvectors, and against rank along principal modes.

    Args:
        edge: The edge of stability.

    Returns:
        A figure of the share, between 0 and 1, against alpha lambda_i (left, without unit) and against the rank
        (right), both logarithmic.

    Example:
        >>> import landscope as ls, torch
        >>> from landscope.synthetic import RandomSprings, sgd_in_bowl
        >>> springs, values = RandomSprings.draw(torch.tensor([1.0, 2.0]), 20, seed=0), torch.tensor([5.0, 1.0])
        >>> window = ls.Trajectory.of(sgd_in_bowl(values, 400, learning_rate=0.3, noise_variance=1.0, seed=0))
        >>> axes, w0 = ls.directions.Directions.of(torch.eye(2), values=values), torch.zeros(2).double()
        >>> edge = ls.noise.edge_of_stability(
        ...     springs, springs, w0, window, axes, ls.principal_modes(window), learning_rate=0.3,
        ...     n_batches=3,
        ... )
        >>> [axis.title.text for axis in oscillation_by_direction(edge).select_xaxes()]
        ['αλ<sub>i</sub>', 'rank i']
    """
    figure = panels(1, 2, shared_yaxes=True)
    pull, known = edge.pull, torch.isfinite(edge.pull) & (edge.pull > 0)
    _add_shares(
        figure, pull[known], edge.share[known], edge.share_error[known], "eigenvectors of the curvature", OWN, 1
    )
    if bool(known.any()):
        low = float(pull[known].min().log10())
        grid = torch.logspace(low, 0.301 + torch.tensor(1 + edge.momentum).log10().item(), 80, dtype=torch.float64)
        theory = oscillation_share(grid, edge.momentum)
        figure.add_scatter(
            x=numbers(grid), y=numbers(theory), name="a bowl, independent noise", mode="lines",
            line={"color": FIT, "width": 1.5}, row=1, col=1,
        )  # fmt: skip
        add_level(figure, 2 * (1 + edge.momentum), "edge", upright=True, row=1, col=1)
    ranks = torch.from_numpy(ranks_of(len(edge.mode_share)))
    _add_shares(figure, ranks, edge.mode_share, edge.mode_share_error, "principal modes", FRESH, 2)
    for column, title in ((1, "αλ<sub>i</sub>"), (2, "rank i")):
        add_level(figure, 0.5, "white noise", NULL, at="start", row=1, col=column)
        figure.update_xaxes(title_text=title, **logarithmic(), row=1, col=column)
    figure.update_yaxes(range=[0, 1.02])
    figure.update_yaxes(title_text="share of σ² above frequency 1/4", row=1, col=1)
    return figure


def _add_shares(figure: go.Figure, x: Tensor, share: Tensor, error: Tensor, name: str, color: str, column: int) -> None:
    figure.add_scatter(
        x=numbers(x), y=numbers(share), name=name, mode="markers", marker={"color": color, "size": 5},
        error_y={"type": "data", "array": numbers(1.96 * error), "thickness": 1, "width": 0}, row=1, col=column,
    )  # fmt: skip
