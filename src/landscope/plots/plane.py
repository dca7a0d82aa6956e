"""The loss in a plane, and other quantities beside it."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go

from landscope.landscape.plane import LossPlane
from landscope.plots.style import numbers, panels

__all__ = ["loss_plane"]


def loss_plane(plane: LossPlane) -> go.Figure:
    """Contours of ln L over the plane, and of each metric."""
    names = ("ln L", *plane.metric_names)
    figure = panels(1, len(names), shared_yaxes=True, subplot_titles=names)
    with np.errstate(divide="ignore", invalid="ignore"):
        log_loss = np.log(numbers(plane.loss))
    shown = [np.where(np.isfinite(log_loss), log_loss, np.nan), *numbers(plane.metric_values)]
    for column, (name, values) in enumerate(zip(names, shown, strict=True), start=1):
        place = {"len": 0.9, "thickness": 12, "x": column / len(names), "xanchor": "right"}
        figure.add_contour(
            x=numbers(plane.first), y=numbers(plane.second), z=values.T, name=name, colorscale="Viridis",
            colorbar=place, showscale=True, row=1, col=column,
        )  # fmt: skip
        figure.update_xaxes(title_text="displacement a", row=1, col=column)
    figure.update_yaxes(title_text="displacement b", row=1, col=1)
    figure.update_layout(margin={"t": 60})
    return figure
