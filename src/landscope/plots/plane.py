"""The loss in a plane, the path of a training in it, and other quantities beside it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import plotly.graph_objects as go
from torch import Tensor

from landscope.landscape.plane import LossPlane
from landscope.plots.style import FIT, FRESH, numbers, panels

__all__ = ["loss_plane"]

_ROWS_DRAWN = 1000
_GAP = 0.3
"""Room between two plots for the bar of colours, as a share of a plot."""


def loss_plane(
    plane: LossPlane, cosine_content: Tensor | None = None, along: tuple[str, str] = ("a", "b")
) -> go.Figure:
    """Contours of ln L over the plane, and of each metric, with the path of the training where there is one.

    Where a loss is negative, the contours are those of L.

    Args:
        plane: The plane.
        cosine_content: How much each coordinate of the path resembles that of a random walk, ``[2]``, see
            :func:`landscope.noise.cosine_content`.
        along: Names of the two directions.

    Returns:
        A figure of contours over the two displacements in units of the weights, one plot for ln L (or L, in units of
        the loss) and one for each metric.

    Example:
        >>> import landscope as ls, torch
        >>> bowl, along = ls.synthetic.QuadraticBowl(torch.tensor([2.0, 8.0]), minimum=1.0), torch.tensor([0.0, 1.0])
        >>> figure = loss_plane(ls.loss_plane(bowl, torch.zeros(2), torch.eye(2), along, along))
        >>> figure.layout.xaxis.title.text, figure.data[0].z.shape
        ('displacement a', (2, 2))
    """
    loss, scale = numbers(plane.loss), "L"
    if (loss >= 0).all():
        with np.errstate(divide="ignore"):
            loss, scale = np.log(loss), "ln L"
        loss[np.isinf(loss)] = np.nan
    names = (scale, *plane.metric_names)
    titles = names if len(names) > 1 else None
    figure = panels(1, len(names), shared_yaxes=True, subplot_titles=titles, horizontal_spacing=_GAP / len(names))
    shown = [loss, *numbers(plane.metric_values)]
    for column, (name, values) in enumerate(zip(names, shown, strict=True), start=1):
        right = figure.layout[f"xaxis{column if column > 1 else ''}"].domain[1]
        title = {"text": "" if titles else name}
        place = {"len": 0.9, "thickness": 12, "x": right, "xanchor": "left", "title": title}
        figure.add_contour(
            x=numbers(plane.first), y=numbers(plane.second), z=values.T, name=name, colorscale="Viridis",
            colorbar=place, showscale=True, row=1, col=column, contours=_contours(plane) if column == 1 else None,
        )  # fmt: skip
        _add_path(figure, plane, column, _doubt(plane, cosine_content))
        figure.update_xaxes(title_text=f"displacement {along[0]}", row=1, col=column)
    figure.update_yaxes(title_text=f"displacement {along[1]}", row=1, col=1)
    if len(names) > 1:
        figure.update_layout(margin={"t": 60})
    return figure


def _contours(plane: LossPlane) -> dict[str, float] | None:
    """The levels for which a plane was refined."""
    if len(plane.levels) < 2:
        return None
    return {"start": plane.levels[0], "end": plane.levels[-1], "size": plane.levels[1] - plane.levels[0]}


def _doubt(plane: LossPlane, cosine_content: Tensor | None) -> str:
    """What the plane shows of the path, and how much its shape is that of a random walk."""
    share = "unknown" if math.isnan(plane.path_share) else f"{100 * plane.path_share:.3g} %"
    words = f"path: {share} of its motion is in the plane"
    if cosine_content is not None:
        words += f"; cosine content {' and '.join(f'{value:.2f}' for value in cosine_content.tolist())}"
    return words


def _add_path(figure: go.Figure, plane: LossPlane, column: int, name: str) -> None:
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
        x=x, y=y, mode="lines", line={"color": FRESH, "width": 1.5}, text=words,
        name=name, legendgroup="path", **common,
    )  # fmt: skip
    for place, name, symbol in ((0, "start", "circle"), (-1, "end", "x")):
        figure.add_scatter(
            x=x[[place]], y=y[[place]], mode="markers", text=[words[place]], name=name, legendgroup=name,
            marker={"color": FIT, "size": 9, "symbol": symbol, "line": {"color": "white", "width": 1}}, **common,
        )  # fmt: skip
