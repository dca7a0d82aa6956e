"""Figures of runs pooled over seeds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

from landscope.law.exponents import Exponents
from landscope.plots.style import (
    FIT,
    FRESH,
    NULL,
    OWN,
    PALETTE,
    add_points,
    new_figure,
    numbers,
)
from landscope.reproduction.pooling import Pooled

__all__ = ["pooled_exponents", "pooled_variance_by_flatness"]


def pooled_exponents(pooled: Sequence[Pooled]) -> go.Figure:
    """Exponents psi of every run, in-sample, in fresh data and under the null, for each (B, alpha)."""
    figure = new_figure("", "ψ")
    shown = ("in-sample", "same modes, fresh data", "shuffled increments")
    for label, color, offset in zip(shown, (OWN, FRESH, NULL), (-0.2, 0.0, 0.2), strict=True):
        values = [entry.rows.get(label, {}).get("psi", []) for entry in pooled]
        x = [number + offset for number, part in enumerate(values) for _ in part]
        add_points(figure, np.array(x), np.array([value for part in values for value in part]), label, color, 8)
    names = [f"B = {entry.batch_size}, α = {entry.learning_rate:g}" for entry in pooled]
    figure.add_hline(y=4, line={"color": FIT, "dash": "dash", "width": 1}, annotation_text="paper: about 4")
    figure.update_xaxes(tickvals=list(range(len(names))), ticktext=names)
    figure.update_yaxes(rangemode="tozero")
    return figure


def pooled_variance_by_flatness(names: Sequence[str], runs: Sequence[Sequence[Exponents]]) -> go.Figure:
    """Fig. 2D over settings: variance against flatness of every seed, one colour a (B, alpha)."""
    figure = new_figure("flatness F<sub>i</sub>", "variance σ<sub>i</sub>²", log_x=True, log_y=True)
    figure.update_xaxes(dtick="D2")  # often less than a decade
    for name, color, group in zip(names, PALETTE, runs, strict=False):
        x = np.concatenate([numbers(law.width[law.used]) for law in group])
        y = np.concatenate([numbers(law.variance[law.used]) for law in group])
        add_points(figure, x, y, name, color, 3)
    return figure
