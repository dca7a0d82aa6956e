"""Which figures a run has, from the artefacts its stages left."""

from __future__ import annotations

import math
from typing import Any, get_args

from landscope import plots
from landscope._names import Sampling
from landscope.landscape.flatness import Flatness
from landscope.landscape.flatness_and_curvature import FlatnessAndCurvature
from landscope.law.exponents import Exponents
from landscope.law.spectrum import Spectrum
from landscope.law.window_growth import Growth
from landscope.noise.drift import DriftLaw
from landscope.noise.drift_path import Activity, DriftPath
from landscope.noise.gradient import GradientNoise
from landscope.noise.noise_and_curvature import NoiseAndCurvature
from landscope.noise.springs import Springs
from landscope.noise.stationarity import YaidaRelation
from landscope.noise.temperature import ActiveTemperature
from landscope.noise.temperature_over_training import TemperatureOverTraining, drawn_ranks
from landscope.noise.velocity import VelocityStatistics
from landscope.study.analyse import load_profiles
from landscope.study.controls import ROWS
from landscope.study.folder import RunFolder
from landscope.study.noise import layer_artefacts
from landscope.training_history import TrainingHistory

__all__ = ["exponent_rows", "figures_of"]


def figures_of(run: RunFolder) -> dict[str, Any]:
    """All figures of a run by name, those of the stages that are done."""
    figures = _law_figures(run)
    if run.has("noise"):
        figures |= _noise_figures(run)
    if run.has("controls"):
        figures |= _control_figures(run)
    return {name: figure for name, figure in figures.items() if figure is not None}


def exponent_rows(run: RunFolder) -> list[Exponents]:
    """The rows of the table of exponents that a run has."""
    shuffled = [f"shuffled-{number}" for number in range(run.settings.n_nulls)]
    names = [f"exponents-{key}" for key in ("in-sample", "next-window", *shuffled, *ROWS)]
    return [run.load(name, Exponents) for name in names if run.has(name)]


def _nulls(run: RunFolder) -> list[Exponents]:
    return [run.load(f"exponents-shuffled-{number}", Exponents) for number in range(run.settings.n_nulls)]


def _law_figures(run: RunFolder) -> dict[str, Any]:
    found, widths = run.load("spectrum", Spectrum), run.load("flatness", Flatness)
    own, fresh = (run.load(f"exponents-{key}", Exponents) for key in ("in-sample", "next-window"))
    nulls = _nulls(run)
    drawn, fits, ranks = load_profiles(run)
    return {
        "training": plots.training_curves(run.load("training", TrainingHistory)),
        "fig1a": plots.variance_spectrum(found, nulls),
        "fig1b": plots.accumulated_variance(found, nulls),
        "fig1c": plots.path_in_plane(found, 1, 2),
        "fig1d": plots.path_in_plane(found, 49, 50),
        "fig2a": plots.profiles(drawn, ranks),
        "fig2b": plots.log_profiles(drawn, fits, ranks, widths),
        "fig2c": plots.flatness_by_rank(widths, nulls),
        "fig2d": plots.variance_by_flatness(own, fresh, nulls),
        "fig3b-d": plots.noise_by_flatness(own, fresh, nulls),
        "fig3b-tau": plots.memory_by_flatness(own, fresh, nulls),
    }


def _noise_figures(run: RunFolder) -> dict[str, Any]:
    history = run.load("training", TrainingHistory)
    velocity, springs = run.load("noise-velocity", VelocityStatistics), run.load("noise-springs", Springs)
    along = run.load("noise-temperature", ActiveTemperature)
    cooling, noise = run.load("noise-cooling", TemperatureOverTraining), run.load("noise-gradient", GradientNoise)
    width = run.load("flatness", Flatness).width[: len(noise.variance)]
    own, fresh = (run.load(f"exponents-{key}", Exponents) for key in ("in-sample", "next-window"))
    layers = [run.load(name, NoiseAndCurvature) for name in layer_artefacts(run)]
    return {
        "fig3a": plots.minibatch_profiles(springs),
        "fig3b-tau": plots.memory_by_flatness(own, fresh, _nulls(run), velocity.white_time),
        "figs7": plots.spring_statistics(springs),
        "predictions": plots.spring_predictions(springs),
        "autocorrelation": plots.autocorrelation(velocity, history.steps_per_epoch),
        "msd": plots.mean_squared_displacement(velocity),
        "fig5a": plots.temperature_profiles(along, drawn_ranks(springs.ranks)),
        "fig5b": plots.temperature_by_flatness(noise, width, run.settings.learning_rate),
        "fig5c": plots.temperature_profiles_over_training(cooling),
        "fig5d": plots.temperature_over_training_curves(cooling),
        "fig5d-inset": plots.temperature_by_loss(cooling),
        "drift-line": plots.drift_line(run.load("noise-drift-law", DriftLaw)),
        "along-drift": plots.drift_path(run.load("noise-along-drift", DriftPath)),
        "locality": plots.flatness_over_local_curvature(run.load("noise-locality", FlatnessAndCurvature)),
        "layers": plots.noise_by_curvature(layers),
        "activity": plots.active_windows(run.load("noise-activity", Activity), history.steps_per_epoch),
    }


def _control_figures(run: RunFolder) -> dict[str, Any]:
    rows = exponent_rows(run)
    sgd, thermal = (run.load(f"exponents-{key}", Exponents) for key in ("hessian", "langevin"))
    figures = {
        "exponents": plots.all_exponents(rows),
        "equilibrium": plots.equilibrium(sgd, thermal),
        "growth": plots.growth(run.load("growth", Growth)),
        "stationarity": plots.stationarity(run.load("controls-yaida", YaidaRelation)),
    }
    if run.has("noise-locality"):
        found, history = run.load("noise-locality", FlatnessAndCurvature), run.load("training", TrainingHistory)
        samplings = {name: run.load(f"exponents-sampling-{name}", Exponents) for name in get_args(Sampling)}
        last = len(next(iter(samplings.values())).width)
        kept = found.ranks <= last
        figures["samplings"] = plots.sampling_times(
            samplings,
            found.ranks[kept],
            found.curvature[kept],
            run.settings.learning_rate,
            history.steps_per_epoch,
            run.settings.momentum if run.settings.optimizer == "sgd" else math.nan,
        )
    return figures
