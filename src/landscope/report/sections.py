"""The sections of figures on the page of a study, in order."""

from __future__ import annotations

import dataclasses
from typing import Literal

__all__ = ["SECTIONS", "FigureSection"]


@dataclasses.dataclass(frozen=True)
class FigureSection:
    """Figures under one heading.

    Args:
        key: Short name, for links.
        title: Heading.
        stage: Stage of the analysis that completes the section; until then the page names it.
        figures: Names of the figures; each has a caption in :data:`landscope.report.CAPTIONS`.
    """

    key: str
    title: str
    stage: Literal["law", "noise", "controls", "dynamics"]
    figures: tuple[str, ...]


SECTIONS = (
    FigureSection(
        "motion",
        "Fig. 1: motion of the weights",
        "law",
        (
            "variance_spectrum", "spectrum_exponents", "accumulated_variance", "path_along_first_modes",
            "path_along_later_modes",
        ),
    ),
    FigureSection(
        "flatness",
        "Fig. 2: flatness",
        "law",
        ("loss_profiles", "log_loss_profiles", "flatness_against_rank", "variance_against_flatness",
         "variance_along_curvature"),
    ),
    FigureSection(
        "noise",
        "Fig. 3: noise strength and memory",
        "noise",
        (
            "minibatch_profiles", "noise_against_flatness", "correlation_time_against_flatness",
            "correlation_times_from_velocities", "velocity_autocorrelation", "mean_squared_displacement",
            "spring_statistics", "spring_predictions",
        ),
    ),
    FigureSection(
        "temperature",
        "Fig. 5: active temperature",
        "noise",
        (
            "temperature_profiles", "temperature_against_flatness", "temperature_profiles_over_training",
            "temperature_over_training", "temperature_against_loss", "cooling_rates_against_flatness", "active_modes",
        ),
    ),
    FigureSection(
        "over-training",
        "Over the training: sharpness, noise scale, turning of the modes",
        "dynamics",
        ("noise_scale_over_training", "modes_over_training", "sharpness_over_training"),
    ),
    FigureSection(
        "drift",
        "Sections S1 to S3: drift and curvature",
        "noise",
        (
            "inverse_loss_over_training", "loss_forms_along_drift", "loss_along_drift", "flatness_and_curvature",
            "noise_against_curvature",
        ),
    ),
    FigureSection(
        "controls",
        "Controls",
        "controls",
        (
            "exponents", "variance_after_correction", "flatness_at_two_levels", "equilibrium",
            "variance_against_window", "psi_in_growing_windows",
        ),
    ),
    FigureSection(
        "dynamics",
        "Dynamics and geometry: restoring force, response, edge of stability, invariants",
        "dynamics",
        (
            "correlation_time_by_sampling", "stationarity", "variance_and_relaxation", "psi_against_window",
            "response_and_correlation", "response_temperature", "oscillation_by_direction",
            "invariant_flatness", "learning_coefficient",
        ),
    ),
)  # fmt: skip
"""Every figure of the page but that of the training, which stands beside the facts of the training."""
