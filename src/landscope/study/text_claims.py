"""Claims of the paper's text on the figures: the spectrum's ranges, the first mode, correlation time, cooling."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from landscope.claims import cooling, correlation_time, first_mode, ratio_two, regimes
from landscope.claims.verdict import Measurement
from landscope.study import saved
from landscope.study.analysis import Analysis
from landscope.study.claim_group import ClaimGroup

__all__ = ["TEXT_GROUPS", "curvature_of_modes"]


def _regimes(analysis: Analysis) -> Mapping[str, Measurement]:
    spectrum = analysis.load(saved.SPECTRUM)
    return regimes.regime_measurements(
        spectrum,
        analysis.load(saved.IN_SAMPLE),
        analysis.load_if_there(saved.FRESH),
        analysis.nulls,
        analysis.processes,
        regimes.last_rank(spectrum.spectrum_ranks, analysis.settings.fit_modes[1]),
        (analysis.load(saved.STATISTICS), analysis.load_if_there(saved.FRESH_STATISTICS)),
    )


def _correlation_time(analysis: Analysis) -> Mapping[str, Measurement]:
    statistics, fresh = analysis.load(saved.STATISTICS), analysis.load_if_there(saved.FRESH_STATISTICS)
    return correlation_time.correlation_time_measurements(
        analysis.load(saved.IN_SAMPLE),
        analysis.load_if_there(saved.FRESH),
        analysis.nulls,
        analysis.processes,
        (statistics.n_steps, statistics.n_steps if fresh is None else fresh.n_steps),
        analysis.settings.fit_modes,
    )


def _velocities(analysis: Analysis) -> Mapping[str, Measurement]:
    measured = len(analysis.load(saved.FLATNESS).width)
    return correlation_time.velocity_measurements(analysis.load(saved.VELOCITY), analysis.settings.fit_modes, measured)


def _loss_form(analysis: Analysis) -> Mapping[str, Measurement]:
    return first_mode.loss_form_measurements(analysis.load(saved.DRIFT_PATH))


def _training_error(analysis: Analysis) -> Mapping[str, Measurement]:
    path = analysis.load(saved.DRIFT_PATH)
    if bool(torch.isnan(path.train_error).any()):
        reason = "needs evaluate=f with f(model) -> {'train_error': ...}"
        return {"drift_keeps_error": Measurement(math.nan, note=reason)}
    return first_mode.training_error_measurements(path)


def curvature_of_modes(analysis: Analysis) -> Float[Tensor, " k"]:
    """Curvature along the modes that have a flatness; NaN where it was not measured."""
    curvature = torch.full_like(analysis.load(saved.FLATNESS).width, math.nan, dtype=torch.float64)
    both = analysis.load_if_there(saved.FLATNESS_AND_CURVATURE)
    if both is not None:
        near = both.ranks <= len(curvature)
        curvature[both.ranks[near] - 1] = both.curvature[near].double()
    return curvature


def _temperature_exponent(analysis: Analysis) -> Mapping[str, Measurement]:
    return cooling.temperature_exponent_measurements(
        analysis.load(saved.GRADIENT_NOISE), analysis.load(saved.FLATNESS).width, analysis.settings.fit_modes,
        curvature_of_modes(analysis),
    )  # fmt: skip


def _cooling(analysis: Analysis) -> Mapping[str, Measurement]:
    return cooling.cooling_measurements(
        analysis.load(saved.TEMPERATURE_OVER_TRAINING), analysis.load(saved.FLATNESS).width
    )


def _ratio(analysis: Analysis) -> Mapping[str, Measurement]:
    return ratio_two.ratio_measurements(
        analysis.load(saved.FLATNESS),
        analysis.load(saved.SMALLER_FLATNESS),
        analysis.load(saved.STATISTICS),
        analysis.load_if_there(saved.FRESH_STATISTICS),
        analysis.settings.fit_modes,
    )


TEXT_GROUPS = (
    ClaimGroup(
        "law", tuple(claim.key for claim in regimes.CLAIMS), (saved.SPECTRUM, saved.IN_SAMPLE), _regimes
    ),
    ClaimGroup(
        "law", ("short_correlation_time", "velocity_correlations"), (saved.STATISTICS, saved.IN_SAMPLE),
        _correlation_time,
    ),
    ClaimGroup("noise", ("tau_from_velocities",), (saved.VELOCITY,), _velocities),
    ClaimGroup("noise", ("exponential_loss",), (saved.DRIFT_PATH,), _loss_form),
    ClaimGroup("noise", ("drift_keeps_error",), (saved.DRIFT_PATH,), _training_error),
    ClaimGroup("noise", ("temperature_exponent",), (saved.GRADIENT_NOISE,), _temperature_exponent),
    ClaimGroup(
        "noise",
        ("temperature_profile_falls", "cooling_changes_with_loss", "flat_directions_freeze"),
        (saved.TEMPERATURE_OVER_TRAINING,),
        _cooling,
        uses_rate=True,
    ),
    ClaimGroup(
        "controls", tuple(claim.key for claim in ratio_two.CLAIMS), (saved.SMALLER_FLATNESS,), _ratio
    ),
)  # fmt: skip
"""Groups beside those of the figures themselves."""
