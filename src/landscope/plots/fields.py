"""The picture of any result: its tensors against their axes, or a table of its numbers."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go
from torch import Tensor

from landscope.plots.style import HEIGHT, OWN, logarithmic, new_figure, numbers, panels
from landscope.results import Result

__all__ = ["fields"]

_COLUMNS = 2
_MOST_POINTS = 2000
_MANY_DECADES = 100.0
_ROW = 260


def fields(result: Result) -> go.Figure:
    """Every tensor of a result with one or two axes, each in a plot of its own; numbers alone as a table.

    Args:
        result: Any result.

    Returns:
        A figure, each tensor in its own unit against the index along its first axis, from 1. Of a long axis it shows
        some 2,000 evenly spaced places.

    Example:
        >>> import landscope as ls, torch
        >>> axes = ls.directions.Directions.of(torch.eye(2), values=torch.tensor([3.0, 1.0]))
        >>> [axis.title.text for axis in fields(axes).select_yaxes()]
        ['directions, by weight', 'values', 'residuals', 'mean']
    """
    shown = {name: value for name, value in result.tensors().items() if value.ndim in (1, 2) and value.numel()}
    if not shown:
        return _table(result)
    rows = -(-len(shown) // _COLUMNS)
    figure = panels(rows, min(_COLUMNS, len(shown)), vertical_spacing=0.3 / rows, horizontal_spacing=0.18)
    for place, (name, value) in enumerate(shown.items()):
        axes = [axis.replace("_", " ") for axis in result.dims_of(name)]
        _draw(figure, name.replace("_", " "), value, axes, {"row": place // _COLUMNS + 1, "col": place % _COLUMNS + 1})
    figure.update_layout(showlegend=False, height=max(HEIGHT, _ROW * rows))
    return figure


def _draw(figure: go.Figure, name: str, value: Tensor, axes: list[str], place: dict[str, int]) -> None:
    every = tuple(slice(None, None, -(-length // _MOST_POINTS)) for length in value.shape)
    values = numbers(value.to_dense()[every])
    x, *others = (1 + np.arange(length)[part] for length, part in zip(value.shape, every, strict=True))
    figure.update_xaxes(title_text=axes[0], **place)
    if others:
        figure.add_heatmap(x=x, y=others[0], z=values.T.astype(float), colorscale="Viridis", showscale=False, **place)
        figure.update_yaxes(title_text=f"{name}, by {axes[1]}", **place)
        return
    figure.add_scatter(x=x, y=values, name=name, mode="markers", marker={"color": OWN, "size": 4}, **place)
    figure.update_yaxes(title_text=name, **place)
    finite = values[np.isfinite(values.astype(float))]
    if finite.size and finite.min() > 0 and finite.max() > _MANY_DECADES * finite.min():
        figure.update_yaxes(**logarithmic(), **place)


def _table(result: Result) -> go.Figure:
    figure = new_figure("", "")
    rows = [(name.replace("_", " "), str(value)) for name, value in result.attributes().items() if name != "provenance"]
    names, values = zip(*rows, strict=True) if rows else ((), ())
    figure.add_table(header={"values": [result.kind.replace("_", " "), ""]}, cells={"values": [names, values]})
    return figure
