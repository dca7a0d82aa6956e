"""The loss between two solutions, and other quantities below it."""

from __future__ import annotations

import plotly.graph_objects as go
import torch

from landscope.landscape.barrier import LossInterpolation
from landscope.plots.style import HEIGHT, NULL, OWN, add_level, numbers, panels

__all__ = ["loss_between"]


def loss_between(line: LossInterpolation) -> go.Figure:
    """The loss on the line between two solutions with the barrier above its ends, and below it each metric.

    A barrier that is zero up to rounding in single precision is not drawn.

    Args:
        line: The loss on the line.

    Returns:
        A figure of the loss, in its own units, against the fraction of the way, from 0 to 1; below it one plot for each
        metric.

    Example:
        >>> import landscope as ls, torch
        >>> wells = lambda w: (w[..., 0].square() - 1).square()
        >>> line = ls.landscape.loss_between(wells, torch.tensor([-1.0]), torch.tensor([1.0]))
        >>> [curve.name for curve in loss_between(line).data]
        ['loss', 'between the ends']
    """
    names = ("loss", *line.metric_names)
    figure = panels(len(names), 1, shared_xaxes=True, vertical_spacing=0.06)
    x = numbers(line.fraction)
    for row, (name, values) in enumerate(zip(names, (line.loss, *line.metric_values), strict=True), start=1):
        figure.add_scatter(
            x=x, y=numbers(values), name=name, mode="lines+markers", marker={"size": 4, "color": OWN},
            line={"color": OWN}, showlegend=row == 1, row=row, col=1,
        )  # fmt: skip
        figure.update_yaxes(title_text=name, row=row, col=1)
    figure.add_scatter(
        x=x[[0, -1]], y=numbers(line.loss)[[0, -1]], name="between the ends", mode="lines",
        line={"color": NULL, "dash": "dash"}, row=1, col=1,
    )  # fmt: skip
    rounding = torch.finfo(torch.float32).eps * float(line.loss.abs().max())
    if line.barrier > rounding:
        add_level(figure, line.highest, f"barrier {line.barrier:.3g}", NULL, upright=True, row=1, col=1)
    figure.update_xaxes(title_text="fraction of the way", row=len(names), col=1)
    figure.update_layout(height=HEIGHT + 160 * len(line.metric_names))
    return figure
