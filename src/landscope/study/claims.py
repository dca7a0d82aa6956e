"""The paper's claims beside the measurements of a study; verdicts are computed from saved results when shown."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping

import torch

from landscope.claims import controls, edge, fig1, fig2, fig3, fig5, response, run_limit, sec_s2, sec_s3, stationarity
from landscope.claims.statements import judged
from landscope.claims.verdict import Measurement
from landscope.law.exponents import Exponents
from landscope.noise.noise_and_curvature import NoiseAndCurvature
from landscope.study import saved
from landscope.study.analysis import Analysis
from landscope.study.claim_group import ClaimGroup
from landscope.study.claim_table import ClaimTable
from landscope.study.growth_claim import growth_of_study
from landscope.study.remedies import is_run
from landscope.study.result_words import needed
from landscope.study.same_training import CONTINUED
from landscope.study.stages.run_limit import source_of_limit
from landscope.study.text_claims import TEXT_GROUPS, curvature_of_modes
from landscope.study.training_facts import training_facts

__all__ = ["judgements_of", "layers_of", "measurements_of"]


def layers_of(analysis: Analysis) -> list[NoiseAndCurvature]:
    """The results about single layers: layer by layer, Hessian eigenvectors first."""
    names = analysis.folder.names(saved.LAYER)
    order = sorted(names, key=lambda name: (int(name.split("-")[2]), not name.endswith("hessian")))
    return [analysis.folder.load(name, NoiseAndCurvature) for name in order]


def _law(analysis: Analysis) -> Mapping[str, Measurement]:
    fits = analysis.load(saved.PROFILE_FITS)
    spectrum = analysis.load(saved.SPECTRUM)
    in_sample = analysis.load(saved.IN_SAMPLE)
    fresh = analysis.load_if_there(saved.FRESH)
    nulls, processes = analysis.nulls, analysis.processes
    limit = analysis.load_if_there(saved.WINDOW_LIMIT)
    residual_ratio = float((fits.log_residual / fits.quadratic_residual).median())
    return {
        **fig1.spectrum_measurements(
            spectrum, in_sample, fresh, nulls, processes, analysis.load_if_there(saved.FRESH_STATISTICS)
        ),
        **fig2.law_measurements(in_sample, fresh, nulls, processes, limit, residual_ratio),
        **fig3.noise_measurements(in_sample, fresh, nulls, processes, limit),
    }


def _springs(analysis: Analysis) -> Mapping[str, Measurement]:
    found = fig3.spring_measurements(
        analysis.load(saved.SPRINGS),
        analysis.load(saved.VELOCITY),
        analysis.load(saved.GRADIENT_NOISE),
        analysis.load(saved.LOG_HESSIAN),
        analysis.settings.fit_modes,
        learning_rate=analysis.learning_rate,
        fresh=analysis.load_if_there(saved.FRESH),
        nulls=analysis.nulls,
        processes=analysis.processes,
    )
    if analysis.facts.is_plain_sgd:
        return found
    return {**found, "spring_noise": Measurement(math.nan, note="Eq. 12 is for plain SGD")}


def _memory(analysis: Analysis) -> Mapping[str, Measurement]:
    measured = len(analysis.load(saved.FLATNESS).width)
    return sec_s2.memory_measurements(
        analysis.load(saved.VELOCITY),
        analysis.load(saved.NULL_VELOCITY),
        analysis.load_if_there(saved.FRESH_VELOCITY),
        analysis.settings.fit_modes,
        min(analysis.settings.fit_modes[1], measured),
    )


def _temperature(analysis: Analysis) -> Mapping[str, Measurement]:
    noise = analysis.load(saved.GRADIENT_NOISE)
    return fig5.temperature_measurements(
        analysis.load(saved.TEMPERATURE),
        noise,
        analysis.load(saved.FLATNESS).width[: len(noise.variance)],
        analysis.load(saved.TEMPERATURE_OVER_TRAINING),
        analysis.settings.fit_modes,
        curvature_of_modes(analysis)[: len(noise.variance)],
    )


def _drift(analysis: Analysis) -> Mapping[str, Measurement]:
    if analysis.facts.optimizer != "SGD":
        return {"logarithmic_drift": Measurement(math.nan, note="the law is for SGD")}
    return sec_s2.drift_measurements(
        analysis.load(saved.DRIFT_LAW),
        analysis.load(saved.DRIFT_PATH),
        analysis.load(saved.PHASES),
    )


def _margin(analysis: Analysis) -> Mapping[str, Measurement]:
    path = analysis.load(saved.DRIFT_PATH)
    if bool(torch.isnan(path.margin[0])):
        return {"margin": Measurement(math.nan, note="needs evaluate=f with f(model) -> {'margin': ...}")}
    return sec_s2.margin_measurements(path)


def _curvature(analysis: Analysis) -> Mapping[str, Measurement]:
    return sec_s3.curvature_measurements(
        analysis.load(saved.FLATNESS_AND_CURVATURE), layers_of(analysis), analysis.space.names
    )


def _row(key: str, analysis: Analysis) -> Exponents:
    return analysis.load(saved.exponents(key))


def _hessian(analysis: Analysis) -> Mapping[str, Measurement]:
    fresh = analysis.load_if_there(saved.exponents("hessian-fresh"))
    return controls.hessian_basis_measurements(
        _row("hessian", analysis), fresh, analysis.load(saved.SENSITIVITY), analysis.load_if_there(saved.WINDOW_LIMIT)
    )


def _equilibrium(analysis: Analysis) -> Mapping[str, Measurement]:
    return controls.equilibrium_measurements(
        _row("hessian-fresh", analysis), analysis.load(saved.EQUILIBRIUM), analysis.load_if_there(saved.WINDOW_LIMIT)
    )


def _sampling(analysis: Analysis) -> Mapping[str, Measurement]:
    return controls.sampling_measurements(
        _row("sampling-with-replacement", analysis), _row("sampling-reshuffled", analysis)
    )


def _edge(analysis: Analysis) -> Mapping[str, Measurement]:
    return edge.edge_measurements(analysis.load(saved.EDGE))


def _stationarity(analysis: Analysis) -> Mapping[str, Measurement]:
    """Both tests are of the training that went on, with an optimiser of its own."""
    return stationarity.stationarity_measurements(
        analysis.load(saved.YAIDA),
        analysis.load(saved.LYAPUNOV),
        plain=training_facts(analysis.folder, CONTINUED).is_plain_sgd,
    )


def _limit(analysis: Analysis) -> Mapping[str, Measurement]:
    return run_limit.limit_measurements(analysis.load(saved.RUN_LIMIT), source_of_limit(analysis))


def _response(analysis: Analysis) -> Mapping[str, Measurement]:
    found = analysis.load(saved.RESPONSE)
    return response.response_measurements(found, analysis.load(saved.FLATNESS).width[found.ranks - 1])


_GROUPS = (
    ClaimGroup("law", (), (saved.SPECTRUM, saved.IN_SAMPLE, saved.PROFILE_FITS,), _law),
    ClaimGroup(
        "noise",
        (
            "minibatch_springs", "spring_flatness", "spring_noise", "mean_field", "stiffness_exponent",
            "centre_exponent", "tau_counts_minibatches",
        ),
        (saved.SPRINGS, saved.GRADIENT_NOISE, saved.LOG_HESSIAN, saved.VELOCITY),
        _springs,
        uses_rate=True,
    ),
    ClaimGroup("noise", ("short_memory", "persistence"), (saved.VELOCITY, saved.NULL_VELOCITY,), _memory),
    ClaimGroup(
        "noise",
        ("temperature_profile", "temperature_by_flatness", "cooling", "frozen"),
        (saved.TEMPERATURE, saved.GRADIENT_NOISE, saved.TEMPERATURE_OVER_TRAINING,),
        _temperature,
        uses_rate=True,
    ),
    ClaimGroup(
        "noise",
        ("logarithmic_drift",),
        (saved.DRIFT_LAW, saved.DRIFT_PATH, saved.PHASES,),
        _drift,
        uses_rate=True,
    ),
    ClaimGroup("noise", ("margin",), (saved.DRIFT_PATH,), _margin),
    ClaimGroup("noise", ("flatness_and_hessian", "noise_by_curvature"), (saved.FLATNESS_AND_CURVATURE,), _curvature),
    ClaimGroup("controls", ("psi_hessian",), (saved.exponents("hessian"), saved.SENSITIVITY,), _hessian),
    ClaimGroup(
        "controls",
        ("inverse_einstein",),
        (saved.exponents("hessian-fresh"), saved.EQUILIBRIUM,),
        _equilibrium,
    ),
    ClaimGroup(
        "dynamics",
        ("tau_by_sampling",),
        (saved.sampling("with-replacement"), saved.sampling("reshuffled"),),
        _sampling,
    ),
    ClaimGroup("dynamics", ("psi_infinity_of_run",), (saved.RUN_LIMIT,), _limit, uses_rate=True),
    ClaimGroup("dynamics", ("batch_sharpness", "no_oscillation"), (saved.EDGE,), _edge, uses_rate=True),
    ClaimGroup("dynamics", ("response_temperature",), (saved.RESPONSE, saved.FLATNESS), _response),
    ClaimGroup("controls", ("flat_modes_stationary",), (saved.GROWTH,), growth_of_study),
    ClaimGroup(
        "dynamics",
        ("stationary",),
        (saved.sampling("with-replacement"), saved.YAIDA, saved.LYAPUNOV,),
        _stationarity,
    ),
    *TEXT_GROUPS,
)  # fmt: skip


def measurements_of(analysis: Analysis) -> dict[str, Measurement]:
    """Measurements of the finished stages by claim; NaN with the reason where something was not measured.

    Raises:
        StorageError: If a result is damaged.
    """
    found: dict[str, Measurement] = {}
    done, reasons = analysis.folder.timings(), analysis.folder.read_note("not-measured")
    for group in _GROUPS:
        if group.stage not in done:
            continue
        missing = [result.name for result in group.results if not analysis.has(result)]
        if missing:
            reason = reasons.get(missing[0]) or needed(missing[0], is_run=is_run(analysis.folder.path))
            found |= {key: Measurement(math.nan, note=reason) for key in group.keys}
        else:
            measured = group.measure(analysis)
            caveat = analysis.rate_caveat if group.uses_rate else ""
            found |= {key: _noted(measurement, caveat) for key, measurement in measured.items()}
    return {key: _with_caveat(measurement.of_one_run(), analysis) for key, measurement in found.items()}


def _with_caveat(measurement: Measurement, analysis: Analysis) -> Measurement:
    """Add a note if the window is not in the exploration phase of the paper."""
    history = analysis.history
    if history is None or history.zero_error_before(int(analysis.window.steps[0])) is not False:
        return measurement
    return _noted(measurement, "the training error was not zero when the window began")


def _noted(measurement: Measurement, caveat: str) -> Measurement:
    """Add a note to a measurement; an empty one adds nothing."""
    if not caveat:
        return measurement
    note = f"{measurement.note}; {caveat}" if measurement.note else caveat
    return dataclasses.replace(measurement, note=note)


def judgements_of(analysis: Analysis) -> ClaimTable:
    """The claims of the finished stages beside their verdicts."""
    return ClaimTable(judged(measurements_of(analysis)))
