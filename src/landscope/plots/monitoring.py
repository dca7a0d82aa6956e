"""The figure of what a monitor measured."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import plotly.graph_objects as go

from landscope.plots.style import FRESH, HEIGHT, MANY_COLORS, OWN, WALK, logarithmic, numbers, panels

if TYPE_CHECKING:
    from landscope.monitoring.history import MonitorHistory

__all__ = ["measured_over_training"]

_EDGES = {"edge": "edge of stability", "noise_edge": "edge of noisy minibatches"}
_DASHES = {"edge": "dash", "noise_edge": "dot"}
_TITLES = {
    "loss": "loss", "sharpness": "curvature", "noise_scale": "noise scale (samples)",
    "temperature": "temperature along modes", "variance": "variance of modes", "drift": "drift of layers (a step)",
    "diffusion": "diffusion of layers (a step)",
}  # fmt: skip
_PANEL_OF = dict.fromkeys(("batch_sharpness", *_EDGES), "sharpness")
_COLORS = {"sharpness": OWN, "batch_sharpness": FRESH, **dict.fromkeys(_EDGES, WALK)}
"""As in the figure of the sharpness of a study."""
_NAMES = {"sharpness": "λ<sub>1</sub>", "batch_sharpness": "batch sharpness", **_EDGES}


def measured_over_training(history: MonitorHistory) -> go.Figure:
    """Curves of all quantities over the steps, a panel for each kind, on logarithmic axes.

    Values that are not positive and finite leave gaps, such as the noise scale where the gradient is zero within its
    error.

    Args:
        history: What a monitor measured.

    Returns:
        A figure with a plot for each kind of quantity against the step, both logarithmic, in the units that the axes
        name.
    """
    kinds = [kind for kind in _TITLES if any(_panel_of(name) == kind for name in history.names)]
    rows = max(1, math.ceil(len(kinds) / 2))
    figure = panels(rows, 2 if len(kinds) > 1 else 1, vertical_spacing=0.35 / rows, horizontal_spacing=0.18)
    for place, kind in enumerate(kinds):
        at = {"row": place // 2 + 1, "col": place % 2 + 1}
        names = [name for name in history.names if _panel_of(name) == kind]
        for number, name in enumerate(names):
            color = _COLORS.get(name, MANY_COLORS[number % len(MANY_COLORS)])
            _add_curve(figure, history, name, color, at)
        _say_if_empty(figure, at)
        figure.update_xaxes(title_text="step", **at)
        figure.update_yaxes(title_text=_TITLES[kind], **logarithmic(narrow=True), **at)
    figure.update_xaxes(matches="x")
    if not kinds:
        figure.update_xaxes(title_text="step: nothing was measured")
    figure.update_layout(height=HEIGHT * rows * 0.75 + HEIGHT * 0.25)
    return figure


def _panel_of(name: str) -> str:
    kind = name.partition("/")[0]
    return _PANEL_OF.get(kind, kind)


def _add_curve(figure: go.Figure, history: MonitorHistory, name: str, color: str, at: dict[str, int]) -> None:
    steps, values = history.curve(name)
    shown = _shown_name(name)
    figure.add_scatter(
        x=numbers(steps), y=numbers(values.where((values > 0) & values.isfinite(), math.nan)), name=shown,
        mode="lines" if len(steps) > 60 or name in _EDGES else "lines+markers", legendgroup=shown,
        showlegend=name in _NAMES or (name not in _TITLES and all(one.legendgroup != shown for one in figure.data)),
        line={"color": color, "width": 1.2, "dash": _DASHES.get(name, "solid")},
        marker={"size": 4}, **at,
    )  # fmt: skip


def _say_if_empty(figure: go.Figure, at: dict[str, int]) -> None:
    """Say in a panel that none of its values can be drawn."""
    if any(np.isfinite(trace.y).any() for trace in figure.select_traces(**at)):
        return
    axes = next(figure.select_traces(**at))
    figure.add_annotation(
        text="no positive, finite value", showarrow=False, x=0.5, y=0.5,
        xref=f"{axes.xaxis} domain", yref=f"{axes.yaxis} domain",
    )  # fmt: skip


def _shown_name(name: str) -> str:
    kind, _, part = name.partition("/")
    if not part:
        return _NAMES.get(name, _TITLES.get(name, name))
    return f"layer {part}" if kind in ("drift", "diffusion") else part.replace("_", " ")
