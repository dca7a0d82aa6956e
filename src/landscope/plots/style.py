"""Common elements of all figures: colours, layout, axes, points and lines. No figure sets margins of its own."""

from __future__ import annotations

import functools
from typing import Any, Literal

import numpy as np
import plotly.graph_objects as go
import plotly.io
from plotly.subplots import make_subplots
from torch import Tensor

__all__ = [
    "FIT",
    "FRESH",
    "MANY_COLORS",
    "NULL",
    "OWN",
    "PALETTE",
    "WALK",
    "add_level",
    "add_line",
    "add_points",
    "as_html",
    "few_ticks",
    "logarithmic",
    "new_figure",
    "numbers",
    "panels",
    "ranks_of",
    "taller",
    "two_axes",
]

OWN, FRESH, NULL, WALK, FIT, PROCESS = "#1f5fa8", "#d9760b", "#9aa0a6", "#4a4a4a", "#b3261e", "#2e7d32"
PALETTE = ("#1f5fa8", "#d9760b", "#2e7d32", "#7b3fa0")
MANY_COLORS = (*PALETTE, FIT, "#00838f", "#8d6e63", "#c2185b", "#827717", "#000000")
HEIGHT = 420
STEPS = "step (0 drawn at 0.5)"
_LINE_OF_LEGEND = 20
_ABOUT_A_DECADE = (0.7, 1.4)
_DRAWN = ("bar", "contour", "heatmap", "scatter", "table")
_NOT_DRAWN = ("polar", "ternary", "scene", "geo")
# Powers of ten on logarithmic axes: "10^-6", not "1u".
_AXIS = {"exponentformat": "power", "minorloglabels": "complete", "automargin": True, "title": {"standoff": 8}}
_LEFT_OUT = ["downloadJson", "sendChartToCloud", "zoomIn2d", "zoomOut2d", "autoScale2d", "select2d", "lasso2d"]


def new_figure(x: str, y: str, *, log_x: bool = False, log_y: bool = False) -> go.Figure:
    """An empty figure with titled axes, linear or logarithmic."""
    figure = _styled(go.Figure())
    figure.update_xaxes(title_text=x, **(logarithmic() if log_x else {}))
    figure.update_yaxes(title_text=y, **(logarithmic() if log_y else {}))
    return figure


def two_axes(x: str, left: str, right: str) -> go.Figure:
    """An empty figure with one axis of y on the left and one on the right."""
    figure = _styled(make_subplots(specs=[[{"secondary_y": True}]]))
    figure.update_xaxes(title_text=x)
    figure.update_yaxes(title_text=left, secondary_y=False)
    # Without a number of ticks of its own, the right axis takes over the ticks of the left one.
    figure.update_yaxes(title_text=right, rangemode="tozero", tickmode="auto", nticks=6, secondary_y=True)
    return figure


def panels(rows: int, columns: int, **settings: Any) -> go.Figure:
    """An empty figure of several plots; titles belong on the axes, because the mode bar lies above the plots."""
    return _styled(make_subplots(rows=rows, cols=columns, **settings))


def logarithmic(*, narrow: bool = False) -> dict[str, Any]:
    """Settings of a logarithmic axis: powers of ten over many decades, full numbers within one decade.

    Args:
        narrow: Whether there is no room for numbers between powers of ten.
    """
    return {"type": "log", "nticks": 4, **({"minorloglabels": "none"} if narrow else {})}


def few_ticks(figure: go.Figure) -> None:
    """Name only 1, 2 and 5 on the logarithmic axis of x if the points span about one decade.

    Plotly would write out every digit there, and the labels overlap. It chooses well for shorter and longer spans.
    """
    x = np.concatenate([np.asarray(trace.x, dtype=float) for trace in figure.data])
    x = x[np.isfinite(x) & (x > 0)]
    if len(x) and _ABOUT_A_DECADE[0] < np.log10(x.max() / x.min()) < _ABOUT_A_DECADE[1]:
        figure.update_xaxes(dtick="D2")


def taller(figure: go.Figure, lines: int) -> None:
    """Make room for more lines of a legend than usual."""
    figure.update_layout(height=HEIGHT + _LINE_OF_LEGEND * lines)


@functools.cache
def _template() -> go.layout.Template:
    """Plotly's simple_white for the kinds of plots drawn here: a figure holds a copy, and the rest is two thirds."""
    whole = plotly.io.templates["simple_white"].to_plotly_json()
    layout = {name: value for name, value in whole["layout"].items() if name not in _NOT_DRAWN}
    for axis in ("xaxis", "yaxis"):
        layout[axis] = {**layout[axis], **_AXIS}
    return go.layout.Template(
        layout=layout, data={kind: whole["data"][kind] for kind in _DRAWN if kind in whole["data"]}
    )


def _styled(figure: go.Figure) -> go.Figure:
    """The common style. Axes and legend reserve their own room; the top margin holds plotly's mode bar."""
    figure.update_layout(
        template=_template(),
        height=HEIGHT,
        margin={"l": 10, "r": 15, "t": 34, "b": 10},
        showlegend=True,
        legend={"orientation": "h", "yref": "container", "y": 0, "yanchor": "bottom", "x": 0, "font": {"size": 12}},
        font={"size": 13},
    )
    return figure


def numbers(values: Tensor) -> np.ndarray:
    """Convert a tensor to an array for plotly."""
    return values.detach().cpu().numpy()


def places_of(steps: Tensor) -> np.ndarray:
    """Places of optimiser steps on a logarithmic axis, as its title :data:`STEPS` says."""
    return np.maximum(numbers(steps), 0.5)


def ranks_of(count: int, first: int = 1) -> np.ndarray:
    """The ranks of ``count`` modes, from ``first`` on."""
    return np.arange(first, first + count)


def add_line(figure: go.Figure, x: np.ndarray, y: np.ndarray, name: str, color: str, **line: object) -> None:
    """Draw a line."""
    figure.add_scatter(x=x, y=y, name=name, mode="lines", line={"color": color, **line})


def add_points(figure: go.Figure, x: np.ndarray, y: np.ndarray, name: str, color: str, size: float = 4) -> None:
    """Draw points."""
    figure.add_scatter(x=x, y=y, name=name, mode="markers", marker={"color": color, "size": size})


def add_level(
    figure: go.Figure,
    value: float,
    text: str = "",
    color: str = WALK,
    *,
    dash: str = "dash",
    upright: bool = False,
    at: Literal["start", "middle", "end"] = "end",
    **place: int,
) -> None:
    """Draw a line at one value across the figure, with a label.

    The label belongs to the line, because an annotation on a logarithmic axis would need the logarithm of the value.

    Args:
        figure: The figure.
        value: Place of the line, in the units of its axis.
        text: The label.
        color: Colour of the line.
        dash: Dashes of the line.
        upright: Whether the line is vertical.
        at: Part of the line that carries the label.
        **place: ``row`` and ``col`` of one plot among several.
    """
    label: dict[str, Any] = {"text": text, "textposition": at, "font": {"size": 12}}
    if upright:  # along the line, the label would leave the plot at its ends
        label |= {"textangle": 0, "xanchor": "left", "yanchor": {"start": "bottom", "end": "top"}.get(at, "middle")}
    style: dict[str, Any] = {"line": {"color": color, "dash": dash, "width": 1}, "label": label, "opacity": 1, **place}
    if upright:
        figure.add_vline(x=value, **style)
    else:
        figure.add_hline(y=value, **style)


def as_html(figure: go.Figure, name: str) -> str:
    """The HTML of a figure, for a page that already contains plotly.js.

    Args:
        figure: The figure.
        name: Id of its element, and name of the file that a download has.

    Returns:
        A ``div`` with its script.

    Example:
        >>> 'id="loss"' in as_html(new_figure("step", "loss"), "loss")
        True
    """
    config = {
        "displaylogo": False,
        "responsive": True,
        "modeBarButtonsToRemove": _LEFT_OUT,
        "toImageButtonOptions": {"filename": name, "scale": 2},
    }
    return figure.to_html(full_html=False, include_plotlyjs=False, div_id=name, config=config)
