"""Figures that single runs of the paper's own network show: Figs. 1, 2, 3, 5 and S7, sections S2 and S3."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

from landscope.plots.style import FIT, MANY_COLORS, PALETTE, add_level, add_points, new_figure, numbers
from landscope.reproduction.figures.single_runs import SingleRuns
from landscope.reproduction.seed_summary import LAW_ROWS, SeedSummary
from landscope.study import saved

__all__ = ["FIGURES"]


def _exponents_by_pair(summaries: Sequence[SeedSummary]) -> go.Figure:
    """Exponents psi of every run, in-sample, in fresh data and under the null, for each (B, alpha)."""
    figure = new_figure("", "ψ")
    for label, color, offset in zip(LAW_ROWS, MANY_COLORS, range(-2, 3), strict=False):
        values = [summary.rows.get(label, {}).get("psi", []) for summary in summaries]
        x = [number + offset / 8 for number, part in enumerate(values) for _ in part]
        add_points(figure, np.array(x), np.array([value for part in values for value in part]), label, color, 8)
    add_level(figure, 4, "paper: about 4", FIT)
    figure.update_xaxes(tickvals=list(range(len(summaries))), ticktext=[summary.name for summary in summaries])
    figure.update_yaxes(autorangeoptions={"include": [0, 4.5]})  # the label stands above 4
    return figure


def _variance_against_flatness(summaries: Sequence[SeedSummary]) -> go.Figure:
    """Fig. 2D over settings: variance against flatness of every seed, one colour for each (B, alpha)."""
    figure = new_figure("flatness F<sub>i</sub>", "variance σ<sub>i</sub>²", log_x=True, log_y=True)
    for summary, color in zip(summaries, PALETTE, strict=False):
        laws = [run.load(saved.IN_SAMPLE.name, saved.IN_SAMPLE.kind) for run in summary.runs]
        x = np.concatenate([numbers(law.width[law.used]) for law in laws])
        y = np.concatenate([numbers(law.variance[law.used]) for law in laws])
        add_points(figure, x, y, summary.name, color, 3)
    return figure


FIGURES = (
    SingleRuns(
        key="fig1",
        title="Fig. 1: spectrum, drift and diffusion",
        until="law",
        claims=(
            "gamma", "plateau", "faster_decay", "first_mode", "modes_for_90_percent", "drift_share", "alignment",
            "diffusion_share",
        ),
        plots=(
            "variance_spectrum", "spectrum_exponents", "accumulated_variance", "path_along_first_modes",
            "path_along_later_modes",
        ),
        table="law",
    ),
    SingleRuns(
        key="fig2",
        title="Fig. 2: the inverse variance-flatness relation",
        until="law",
        claims=("inverse_gaussian", "flatness_rises", "psi"),
        plots=("loss_profiles", "log_loss_profiles", "flatness_against_rank", "variance_against_flatness"),
        table="law",
        other_pairs=((100, 0.1), (50, 0.2)),
        plots_over_seeds=(
            ("Exponents.", _exponents_by_pair, "Every run is a point."),
            ("Variance against flatness.", _variance_against_flatness, "In-sample, all seeds."),
        ),
    ),
    SingleRuns(
        key="fig3",
        title="Fig. 3: noise strength, memory, and their controls",
        until="dynamics",
        claims=(
            "psi", "psi_D", "psi_tau", "minibatch_springs", "spring_flatness", "spring_noise", "mean_field",
            "tau_counts_minibatches", "psi_hessian", "inverse_einstein", "stationary", "tau_by_sampling",
            "flat_modes_stationary", "short_correlation_time", "velocity_correlations", "tau_from_velocities",
            "psi_at_ratio_two", "order_at_ratio_two",
            "psi_infinity_of_run", "response_temperature", "batch_sharpness", "no_oscillation",
        ),
        plots=(
            "minibatch_profiles", "noise_against_flatness", "correlation_time_against_flatness",
            "correlation_times_from_velocities", "flatness_at_two_levels", "spring_predictions",
            "correlation_time_by_sampling", "equilibrium", "variance_against_window", "exponents",
        ),
        table="all",
    ),
    SingleRuns(
        key="fig5",
        title="Fig. 5: active temperature",
        until="noise",
        claims=(
            "temperature_profile", "temperature_by_flatness", "temperature_exponent", "temperature_profile_falls",
            "cooling", "cooling_changes_with_loss", "frozen", "flat_directions_freeze",
        ),
        plots=(
            "temperature_profiles", "temperature_against_flatness", "temperature_profiles_over_training",
            "temperature_over_training", "temperature_against_loss", "cooling_rates_against_flatness",
        ),
    ),
    SingleRuns(
        key="sec-S2",
        title="sec-S2: drift along the first mode",
        until="noise",
        claims=(
            "logarithmic_drift", "exponential_loss", "drift_keeps_error", "margin", "persistence", "short_memory",
            "drift_share", "alignment",
        ),
        plots=(
            "training_curves", "inverse_loss_over_training", "loss_forms_along_drift", "loss_along_drift",
            "path_along_first_modes", "active_modes",
        ),
    ),
    SingleRuns(
        key="sec-S3",
        title="sec-S3: flatness and curvature",
        until="noise",
        claims=("flatness_and_hessian", "noise_by_curvature"),
        plots=("flatness_and_curvature", "noise_against_curvature"),
    ),
    SingleRuns(
        key="fig-S7",
        title="Fig. S7: springs against flatness",
        until="noise",
        claims=("stiffness_exponent", "centre_exponent", "mean_field"),
        plots=("spring_statistics", "spring_predictions"),
    ),
)  # fmt: skip
"""Each needs the runs of the standard pair, and is one entry here."""
