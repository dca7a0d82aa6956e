"""Figures over many runs: other networks and data, other widths, other noise, branches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import plotly.graph_objects as go
from plotly.colors import sample_colorscale

from landscope.plots.style import (
    FIT,
    FRESH,
    NULL,
    OWN,
    PALETTE,
    add_level,
    add_line,
    add_points,
    new_figure,
    numbers,
    ranks_of,
)
from landscope.reproduction.figures.branches_claims import Branch
from landscope.reproduction.figures.fig6_claims import EffectiveDimension
from landscope.reproduction.figures.sec_s6_claims import Case
from landscope.reproduction.figures.sec_s9_claims import NoisyRun

__all__ = ["barriers", "dimensions_by_size", "exponents_of_cases", "flatness_spectra", "noisy_training"]


def exponents_of_cases(cases: Sequence[Case]) -> go.Figure:
    """Psi of every case three ways; every run is a point."""
    figure = new_figure("ψ", "")
    names = [f"{case.name}, {case.weights}" for case in cases]
    parts = {"own": ("in-sample", OWN), "fresh": ("fresh data", FRESH), "null": ("shuffled increments", NULL)}
    for number, (part, (label, color)) in enumerate(parts.items()):
        points = [(row.psi, place) for place, case in enumerate(cases) for row in getattr(case, part)]
        x, y = np.array([psi for psi, _ in points]), np.array([place + 0.22 * (1 - number) for _, place in points])
        add_points(figure, x, y, label, color, 7)
    figure.add_vline(x=4, line={"color": FIT, "dash": "dash", "width": 1}, annotation_text="paper: about 4")
    figure.add_vline(x=0, line={"color": "#888", "width": 1})
    figure.update_yaxes(tickvals=list(range(len(cases))), ticktext=names, autorange="reversed")
    height = 150 + 34 * len(cases)
    figure.update_layout(height=height, margin={"l": 330, "r": 15, "t": 30, "b": 95}, legend={"y": -60 / height})
    return figure


def flatness_spectra(found: Mapping[int, Sequence[EffectiveDimension]]) -> go.Figure:
    """Fig. 6A: flatness over the norm against rank, one seed a width."""
    figure = new_figure("rank i", "F<sub>i</sub>/‖w‖", log_x=True, log_y=True)
    colors = _shades(len(found))
    for (width, group), color in zip(sorted(found.items()), colors, strict=True):
        values = numbers(group[0].width) / group[0].norm
        add_line(figure, ranks_of(len(values)), values, f"width {width}", color, width=1.5)
    add_level(figure, 0.5, "threshold", FIT)
    figure.update_yaxes(dtick="D2")
    return figure


def dimensions_by_size(found: Mapping[int, Sequence[EffectiveDimension]]) -> go.Figure:
    """Fig. 6B and S17: effective dimensions against the number of weights; every seed is a point."""
    figure = new_figure("number of weights N", "effective dimension", log_x=True, log_y=True)
    quantities = (
        ("D<sub>s</sub>", lambda one: one.n_sharp, OWN),
        ("D<sub>l</sub> (99 %) without mode 1", lambda one: one.n_learning[2], FRESH),
        ("the same, shuffled increments", lambda one: one.n_null[1], NULL),
    )
    runs = [one for _, group in sorted(found.items()) for one in group]
    for name, quantity, color in quantities:
        add_points(figure, np.array([r.n_weights for r in runs]), np.array([quantity(r) for r in runs]), name, color, 6)
    sizes = np.array(sorted({run.n_weights for run in runs}))
    add_line(figure, sizes, sizes.astype(float), "N", "#bbb", dash="dot", width=1)
    figure.update_yaxes(dtick="D2")
    return figure


def noisy_training(found: Mapping[str, Sequence[NoisyRun]]) -> go.Figure:
    """Test error over steps under each noise; mean over seeds."""
    figure = new_figure("step", "test error (%)")
    for (shape, runs), color in zip(found.items(), (*PALETTE, NULL, FIT, "#000"), strict=False):
        mean = np.mean([100 * numbers(run.test_error) for run in runs], axis=0)
        add_line(figure, numbers(runs[0].step), mean, shape, color, width=1.5)
    figure.update_yaxes(type="log", dtick="D2")
    return figure


def barriers(branches: Sequence[Branch]) -> go.Figure:
    """Barrier between branches against the step at which they part."""
    figure = new_figure("step of the checkpoint", "barrier of ln L", log_x=True)
    settings = sorted({(branch.batch_size, branch.learning_rate) for branch in branches})
    for (size, rate), color in zip(settings, PALETTE, strict=False):
        group = [branch for branch in branches if (branch.batch_size, branch.learning_rate) == (size, rate)]
        x, y = np.array([branch.step for branch in group]), np.array([branch.barrier for branch in group])
        add_points(figure, x, y, f"B = {size}, α = {rate:g}", color, 8)
    figure.update_yaxes(rangemode="tozero")
    return figure


def _shades(count: int) -> list[str]:
    places = [0.15 + 0.75 * number / max(1, count - 1) for number in range(count)]
    return sample_colorscale("Viridis", places)
