"""Which figure is the natural picture of a kind of result: ``result.plot()`` finds it here."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go
import torch

from landscope.directions.directions import Directions
from landscope.landscape.profile import LossProfiles
from landscope.plots.against_flatness import variance_against_flatness
from landscope.plots.between import loss_between
from landscope.plots.controls import variance_after_correction, variance_against_window
from landscope.plots.edge import oscillation_by_direction
from landscope.plots.invariant import invariant_flatness, learning_coefficient
from landscope.plots.landscape import (
    flatness_against_rank,
    loss_profiles,
    training_curves,
    variance_spectrum,
)
from landscope.plots.monitoring import measured_over_training
from landscope.plots.noise import (
    active_modes,
    flatness_and_curvature,
    inverse_loss_over_training,
    loss_along_drift,
    mean_squared_displacement,
    noise_against_curvature,
    spring_statistics,
    stationarity,
)
from landscope.plots.noise_scale import noise_scale
from landscope.plots.over_training import modes_over_training, sharpness_over_training
from landscope.plots.plane import loss_plane
from landscope.plots.response import response_and_correlation
from landscope.plots.run_limit import variance_and_relaxation
from landscope.plots.spectra import spectral_density
from landscope.plots.style import OWN, add_points, few_ticks, new_figure, numbers, ranks_of
from landscope.plots.temperature import temperature_over_training, temperature_profiles
from landscope.plots.window_limit import variance_along_curvature
from landscope.results import register_picture

__all__ = ["values_against_rank"]

_ROUNDING = 1e-6
_FEW = 10


def values_against_rank(directions: Directions) -> go.Figure:
    """Values of directions against rank: the variance of principal modes, or curvatures, which may be negative.

    The axes are logarithmic if there are positive values only, up to rounding.

    Args:
        directions: The directions, with their values.

    Returns:
        A figure of the values, in their own units, against the rank.

    Example:
        >>> import torch
        >>> axes = Directions.of(torch.eye(2), values=torch.tensor([3.0, 1.0]))
        >>> values_against_rank(axes).data[0].y.tolist()
        [3.0, 1.0]
    """
    values = numbers(directions.values)
    known = np.isfinite(values)
    reach = np.abs(values[known]).max(initial=0)
    is_positive = bool(reach) and not (values[known] < -_ROUNDING * reach).any()
    shown = known & (values > 0) if is_positive else known
    figure = new_figure("rank i", f"value ({directions.name})", log_x=is_positive, log_y=is_positive)
    add_points(figure, ranks_of(len(values))[shown], values[shown], directions.name, OWN, 6)
    if is_positive:
        few_ticks(figure)
    if len(values) < _FEW:
        figure.update_xaxes(tickvals=ranks_of(len(values)))
    if not known.any():
        figure.update_xaxes(title_text="rank i: these directions have no values")
    return figure


def _profiles(profiles: LossProfiles) -> go.Figure:
    return loss_profiles(profiles, range(1, len(profiles.loss) + 1))


for _kind, _draw in {
    "directions": values_against_rank,
    "flatness": lambda found: flatness_against_rank(found, ()),
    "loss_interpolation": loss_between,
    "loss_profiles": _profiles,
    "loss_plane": loss_plane,
    "spectral_density": spectral_density,
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
    "active_temperature": lambda found: temperature_profiles(found, torch.arange(1, len(found.temperature) + 1)),
    "activity": lambda found: active_modes(found, None),
    "drift_law": inverse_loss_over_training,
    "drift_path": loss_along_drift,
    "flatness_and_curvature": flatness_and_curvature,
    "invariant_flatness": invariant_flatness,
    "learning_coefficient": learning_coefficient,
    "noise_and_curvature": lambda found: noise_against_curvature([found]),
    "yaida_relation": stationarity,
    "training_history": lambda found: training_curves(found, ()),
    "sharpness_over_training": sharpness_over_training,
    "temperature_over_training": temperature_over_training,
    "modes_over_training": modes_over_training,
    "noise_scale": noise_scale,
    "monitor_history": measured_over_training,
}.items():
    register_picture(_kind, _draw)
