"""Common elements of all figures: colours, axes, points and lines."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go
from torch import Tensor

__all__ = [
    "FIT",
    "FRESH",
    "NULL",
    "OWN",
    "PALETTE",
    "WALK",
    "add_level",
    "add_line",
    "add_points",
    "as_html",
    "few_ticks",
    "new_figure",
    "numbers",
    "ranks_of",
    "styled",
]

OWN, FRESH, NULL, WALK, FIT = "#1f5fa8", "#d9760b", "#9aa0a6", "#4a4a4a", "#b3261e"
PALETTE = ("#1f5fa8", "#d9760b", "#2e7d32", "#7b3fa0")
HEIGHT = 420


def new_figure(x: str, y: str, *, log_x: bool = False, log_y: bool = False) -> go.Figure:
    """An empty figure with titled axes, linear or logarithmic."""
    figure = go.Figure()
    styled(figure)
    # One tick for each decade: labels in between are too dense.
    figure.update_xaxes(title=x, **({"type": "log", "dtick": 1} if log_x else {}))
    figure.update_yaxes(title=y, **({"type": "log", "dtick": 1} if log_y else {}))
    return figure


def styled(figure: go.Figure) -> None:
    """Apply the common style to a figure."""
    figure.update_layout(
        template="simple_white",
        height=HEIGHT,
        margin={"l": 70, "r": 15, "t": 30, "b": 95},
        legend={"orientation": "h", "y": -0.2, "yanchor": "top", "font": {"size": 11}},
        font={"size": 13},
    )
    # Powers of ten on logarithmic axes: "10^-6", not "1u".
    figure.update_xaxes(exponentformat="power")
    figure.update_yaxes(exponentformat="power")


def few_ticks(figure: go.Figure) -> None:
    """Let plotly choose the ticks of logarithmic axes, because one for each decade is too many over many decades."""
    figure.update_xaxes(dtick=None, nticks=8)
    figure.update_yaxes(dtick=None, nticks=8)


def numbers(values: Tensor) -> np.ndarray:
    """Convert a tensor to an array for plotly."""
    return values.detach().cpu().numpy()


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
    figure: go.Figure, value: float, text: str, color: str, *, dash: str = "dash", upright: bool = False
) -> None:
    """Draw a line at one value across the figure, with a label.

    The label belongs to a shape, because an annotation on a logarithmic axis would need the logarithm of the value.
    """
    figure.add_shape(
        type="line", line={"color": color, "dash": dash, "width": 1},
        label={"text": text, "textposition": "middle" if upright else "end", "font": {"size": 12}},
        **({"yref": "paper", "y0": 0, "y1": 1, "x0": value, "x1": value} if upright else
           {"xref": "paper", "x0": 0, "x1": 1, "y0": value, "y1": value}),
    )  # fmt: skip


def as_html(figure: go.Figure, name: str) -> str:
    """The HTML of a figure, for a page that already contains plotly.js."""
    config = {"displaylogo": False, "responsive": True, "toImageButtonOptions": {"filename": name, "scale": 2}}
    return figure.to_html(full_html=False, include_plotlyjs=False, div_id=name, config=config)
