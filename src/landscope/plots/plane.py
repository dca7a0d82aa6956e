"""The loss in a plane, the path of a training in it, and other quantities beside it."""

from __future__ import annotations

from typing import Any

import numpy as np
import plotly.graph_objects as go

from landscope.landscape.plane import LossPlane
from landscope.plots.style import FIT, numbers, panels

__all__ = ["loss_plane"]

_ROWS_DRAWN = 1000


def loss_plane(plane: LossPlane) -> go.Figure:
    """Contours of ln L over the plane, and of each metric, with the path of the training where there is one."""
    names = ("ln L", *plane.metric_names)
    figure = panels(1, len(names), shared_yaxes=True, subplot_titles=names)
    with np.errstate(divide="ignore", invalid="ignore"):
        log_loss = np.log(numbers(plane.loss))
    shown = [np.where(np.isfinite(log_loss), log_loss, np.nan), *numbers(plane.metric_values)]
    for column, (name, values) in enumerate(zip(names, shown, strict=True), start=1):
        place = {"len": 0.9, "thickness": 12, "x": column / len(names), "xanchor": "right"}
        figure.add_contour(
            x=numbers(plane.first), y=numbers(plane.second), z=values.T, name=name, colorscale="Viridis",
            colorbar=place, showscale=True, row=1, col=column, contours=_contours(plane) if column == 1 else None,
        )  # fmt: skip
        _add_path(figure, plane, column)
        figure.update_xaxes(title_text="displacement a", row=1, col=column)
    figure.update_yaxes(title_text="displacement b", row=1, col=1)
    figure.update_layout(margin={"t": 60})
    return figure


def _contours(plane: LossPlane) -> dict[str, float] | None:
    """The levels for which a plane was refined."""
    if len(plane.levels) < 2:
        return None
    return {"start": plane.levels[0], "end": plane.levels[-1], "size": plane.levels[1] - plane.levels[0]}


def _add_path(figure: go.Figure, plane: LossPlane, column: int) -> None:
    """The path with its start and its end, at most about a thousand rows of it; its name says what the plane shows."""
    if not len(plane.path):
        return
    some = sorted({*range(0, len(plane.path), max(1, len(plane.path) // _ROWS_DRAWN)), len(plane.path) - 1})
    x, y = numbers(plane.path[some]).T
    words = [
        f"step {step}, {distance:.3g} from the plane"
        for step, distance in zip(plane.path_steps[some].tolist(), plane.path_distance[some].tolist(), strict=True)
    ]
    common: dict[str, Any] = {"showlegend": column == 1, "hoverinfo": "text", "row": 1, "col": column}
    figure.add_scatter(
        x=x, y=y, mode="lines", line={"color": "white", "width": 1.5}, text=words,
        name=f"path: {_percent(plane.path_share)} of its motion is in the plane", legendgroup="path", **common,
    )  # fmt: skip
    for place, name, symbol in ((0, "start", "circle"), (-1, "end", "x")):
        figure.add_scatter(
            x=x[[place]], y=y[[place]], mode="markers", text=[words[place]], name=name, legendgroup=name,
            marker={"color": FIT, "size": 9, "symbol": symbol, "line": {"color": "white", "width": 1}}, **common,
        )  # fmt: skip


def _percent(share: float) -> str:
    return "unknown" if np.isnan(share) else f"{100 * share:.3g} %"
