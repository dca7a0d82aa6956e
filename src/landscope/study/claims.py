"""The paper's claims beside the measurements of a study; verdicts are computed from saved results when shown."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping

import torch

from landscope.claims import controls, fig1, fig2, fig3, fig5, sec_s2, sec_s3
from landscope.claims.statements import judged
from landscope.claims.verdict import Judgement, Measurement
from landscope.landscape import Flatness, LossProfiles, ProfileFits
from landscope.landscape.flatness_and_curvature import FlatnessAndCurvature
from landscope.law.exponents import Exponents
from landscope.law.sensitivity import Sensitivity
from landscope.law.spectrum import Spectrum
from landscope.law.window_growth import Growth
from landscope.noise.drift import DriftLaw, Phases
from landscope.noise.drift_path import DriftPath
from landscope.noise.gradient import GradientNoise
from landscope.noise.log_hessian import LogHessian
from landscope.noise.noise_and_curvature import NoiseAndCurvature
from landscope.noise.springs import Springs
from landscope.noise.stationarity import LyapunovResidual, YaidaRelation
from landscope.noise.temperature import ActiveTemperature
from landscope.noise.temperature_over_training import TemperatureOverTraining
from landscope.noise.velocity import VelocityStatistics
from landscope.study.analysis import Analysis
from landscope.study.recording import training_facts
from landscope.study.stages.controls import near_curvature
from landscope.study.stages.noise import LAYER

__all__ = ["judgements_of", "layer_names", "measurements_of"]


@dataclasses.dataclass(frozen=True)
class _Group:
    """Claims that the same results decide.

    Args:
        stage: Stage that makes the results.
        keys: Keys of the claims.
        results: Names of the results.
        measure: Measures the claims.
        uses_rate: Whether the learning rate enters.
    """

    stage: str
    keys: tuple[str, ...]
    results: tuple[str, ...]
    measure: Callable[[Analysis], Mapping[str, Measurement]]
    uses_rate: bool = False


def layer_names(analysis: Analysis) -> list[str]:
    """Names of the results about single layers: layer by layer, Hessian eigenvectors first."""
    names = analysis.folder.names(LAYER)
    return sorted(names, key=lambda name: (int(name.removeprefix(LAYER).split("-")[0]), not name.endswith("hessian")))


def _law(analysis: Analysis) -> Mapping[str, Measurement]:
    fits = analysis.load("profile-fits", ProfileFits)
    spectrum = analysis.load("spectrum", Spectrum)
    in_sample = analysis.load("exponents-in-sample", Exponents)
    fresh = analysis.load_if_there("exponents-fresh", Exponents)
    nulls = [analysis.load(name, Exponents) for name in analysis.folder.names("exponents-shuffled-")]
    residual_ratio = float((fits.log_residual / fits.quadratic_residual).median())
    return {
        **fig1.spectrum_measurements(spectrum, in_sample, fresh, nulls),
        **fig2.law_measurements(in_sample, fresh, nulls, residual_ratio),
        **fig3.noise_measurements(in_sample, fresh, nulls),
    }


def _springs(analysis: Analysis) -> Mapping[str, Measurement]:
    found = fig3.spring_measurements(
        analysis.load("noise-springs", Springs),
        analysis.load("noise-velocity", VelocityStatistics),
        analysis.load("noise-gradient", GradientNoise),
        analysis.load("noise-log-hessian", LogHessian),
        analysis.settings.fit_modes,
        learning_rate=analysis.learning_rate,
    )
    if analysis.facts.is_plain_sgd:
        return found
    return {**found, "spring_noise": Measurement(math.nan, note="Eq. 12 is for plain SGD")}


def _memory(analysis: Analysis) -> Mapping[str, Measurement]:
    measured = len(analysis.load("flatness", Flatness).width)
    return sec_s2.memory_measurements(
        analysis.load("noise-velocity", VelocityStatistics),
        analysis.load("noise-null-velocity", VelocityStatistics),
        analysis.load_if_there("noise-fresh-velocity", VelocityStatistics),
        analysis.settings.fit_modes,
        min(analysis.settings.fit_modes[1], measured),
    )


def _temperature(analysis: Analysis) -> Mapping[str, Measurement]:
    noise = analysis.load("noise-gradient", GradientNoise)
    return fig5.temperature_measurements(
        analysis.load("noise-temperature", ActiveTemperature),
        noise,
        analysis.load("flatness", Flatness).width[: len(noise.variance)],
        analysis.load("noise-temperature-over-training", TemperatureOverTraining),
        analysis.settings.fit_modes,
    )


def _drift(analysis: Analysis) -> Mapping[str, Measurement]:
    if analysis.facts.optimizer != "SGD":
        return {"logarithmic_drift": Measurement(math.nan, note="the law is for SGD")}
    return sec_s2.drift_measurements(
        analysis.load("noise-drift-law", DriftLaw),
        analysis.load("noise-drift-path", DriftPath),
        analysis.load("noise-phases", Phases),
    )


def _margin(analysis: Analysis) -> Mapping[str, Measurement]:
    path = analysis.load("noise-drift-path", DriftPath)
    if bool(torch.isnan(path.margin[0])):
        return {"margin": Measurement(math.nan, note="needs evaluate=f with f(model) -> {'margin': ...}")}
    return sec_s2.margin_measurements(path)


def _curvature(analysis: Analysis) -> Mapping[str, Measurement]:
    layers = [analysis.load(name, NoiseAndCurvature) for name in layer_names(analysis)]
    return sec_s3.curvature_measurements(
        analysis.load("flatness-and-curvature", FlatnessAndCurvature), layers, analysis.space.names
    )


def _row(key: str, analysis: Analysis) -> Exponents:
    return analysis.load(f"exponents-{key}", Exponents)


def _hessian(analysis: Analysis) -> Mapping[str, Measurement]:
    fresh = analysis.load_if_there("exponents-hessian-fresh", Exponents)
    return controls.hessian_basis_measurements(
        _row("hessian", analysis), fresh, analysis.load("sensitivity", Sensitivity)
    )


def _equilibrium(analysis: Analysis) -> Mapping[str, Measurement]:
    near, widths = analysis.load("controls-near", LossProfiles), analysis.load("flatness-hessian", Flatness)
    return controls.equilibrium_measurements(
        _row("hessian-fresh", analysis), _row("langevin", analysis), near_curvature(near, widths)
    )


def _sampling(analysis: Analysis) -> Mapping[str, Measurement]:
    return controls.sampling_measurements(
        _row("sampling-with-replacement", analysis), _row("sampling-reshuffled", analysis)
    )


def _growth(analysis: Analysis) -> Mapping[str, Measurement]:
    return controls.growth_measurements(analysis.load("growth", Growth))


def _stationarity(analysis: Analysis) -> Mapping[str, Measurement]:
    """Both tests are of the training that went on, with an optimiser of its own."""
    return controls.stationarity_measurements(
        analysis.load("controls-yaida", YaidaRelation),
        analysis.load("controls-lyapunov", LyapunovResidual),
        plain=training_facts(analysis.folder, "continued").is_plain_sgd,
    )


_GROUPS = (
    _Group("law", (), ("spectrum", "exponents-in-sample", "profile-fits"), _law),
    _Group(
        "noise",
        (
            "minibatch_springs", "spring_flatness", "spring_noise", "mean_field", "stiffness_exponent",
            "centre_exponent", "tau_counts_minibatches",
        ),
        ("noise-springs", "noise-gradient", "noise-log-hessian", "noise-velocity"),
        _springs,
        uses_rate=True,
    ),
    _Group("noise", ("short_memory", "persistence"), ("noise-velocity", "noise-null-velocity"), _memory),
    _Group(
        "noise",
        ("temperature_profile", "temperature_by_flatness", "cooling", "frozen"),
        ("noise-temperature", "noise-gradient", "noise-temperature-over-training"),
        _temperature,
        uses_rate=True,
    ),
    _Group(
        "noise",
        ("logarithmic_drift",),
        ("noise-drift-law", "noise-drift-path", "noise-phases"),
        _drift,
        uses_rate=True,
    ),
    _Group("noise", ("margin",), ("noise-drift-path",), _margin),
    _Group("noise", ("flatness_and_hessian", "noise_by_curvature"), ("flatness-and-curvature",), _curvature),
    _Group("controls", ("psi_hessian",), ("exponents-hessian", "sensitivity"), _hessian),
    _Group(
        "controls",
        ("inverse_einstein",),
        ("exponents-hessian-fresh", "exponents-langevin", "controls-near", "flatness-hessian"),
        _equilibrium,
    ),
    _Group(
        "controls",
        ("tau_by_sampling",),
        ("exponents-sampling-with-replacement", "exponents-sampling-reshuffled"),
        _sampling,
    ),
    _Group("controls", ("flat_modes_stationary",), ("growth",), _growth),
    _Group(
        "controls",
        ("stationary",),
        ("exponents-sampling-with-replacement", "controls-yaida", "controls-lyapunov"),
        _stationarity,
    ),
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
        missing = [name for name in group.results if not analysis.folder.has(name)]
        if missing:
            reason = reasons.get(missing[0], f"needs the result {missing[0]}")
            found |= {key: Measurement(math.nan, note=reason) for key in group.keys}
        else:
            measured = group.measure(analysis)
            caveat = analysis.rate_caveat if group.uses_rate else ""
            found |= {key: _noted(measurement, caveat) for key, measurement in measured.items()}
    return {key: _with_caveat(measurement, analysis) for key, measurement in found.items()}


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


def judgements_of(analysis: Analysis) -> list[Judgement]:
    """The claims of the finished stages beside their verdicts."""
    return judged(measurements_of(analysis))
