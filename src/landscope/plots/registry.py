"""Which figure is the natural picture of a kind of result: ``result.plot()`` finds it here."""

from __future__ import annotations

import plotly.graph_objects as go

from landscope.directions.directions import Directions
from landscope.landscape.profile import LossProfiles
from landscope.plots.controls import variance_after_correction, variance_against_window
from landscope.plots.edge import oscillation_by_direction
from landscope.plots.landscape import (
    flatness_against_rank,
    loss_profiles,
    variance_against_flatness,
    variance_spectrum,
)
from landscope.plots.monitoring import measured_over_training
from landscope.plots.noise import mean_squared_displacement, spring_statistics
from landscope.plots.plane import loss_plane
from landscope.plots.response import response_and_correlation
from landscope.plots.run_limit import variance_and_relaxation
from landscope.plots.style import OWN, add_points, new_figure, numbers, ranks_of
from landscope.plots.window_limit import variance_along_curvature
from landscope.results import register_picture

__all__ = ["values_against_rank"]


def values_against_rank(directions: Directions) -> go.Figure:
    """The positive values of directions against rank: the variance of principal modes, curvatures of eigenvectors."""
    figure = new_figure("rank i", f"value ({directions.name})", log_x=True, log_y=True)
    values = numbers(directions.values)
    kept = values > 0
    add_points(figure, ranks_of(len(values))[kept], values[kept], directions.name, OWN)
    return figure


def _profiles(profiles: LossProfiles) -> go.Figure:
    return loss_profiles(profiles, range(1, len(profiles.loss) + 1))


for _kind, _draw in {
    "directions": values_against_rank,
    "flatness": lambda found: flatness_against_rank(found, ()),
    "loss_profiles": _profiles,
    "loss_plane": loss_plane,
    "spectrum": lambda found: variance_spectrum(found, ()),
    "exponents": lambda found: variance_against_flatness(found, None, ()),
    "velocity_statistics": mean_squared_displacement,
    "springs": spring_statistics,
    "edge_of_stability": oscillation_by_direction,
    "one_window": variance_after_correction,
    "window_growth": variance_against_window,
    "run_limit": variance_and_relaxation,
    "direct_response": response_and_correlation,
    "window_limit": variance_along_curvature,
    "monitor_history": measured_over_training,
}.items():
    register_picture(_kind, _draw)
