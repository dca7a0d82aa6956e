"""The figures of a study, each drawn from saved results; a new figure is one entry in :data:`FIGURES`."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, get_args

from landscope import plots
from landscope._names import Sampling
from landscope.errors import InputError
from landscope.landscape import Flatness, LossProfiles, ProfileFits
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
from landscope.study.analysis import Analysis
from landscope.study.claims import layer_names
from landscope.study.exponents import exponent_rows
from landscope.study.stages.flatness import DrawnModes
from landscope.study.stages.noise import LAYER
from landscope.training_history import TrainingHistory

if TYPE_CHECKING:
    import plotly.graph_objects as go

__all__ = ["FIGURES", "StudyFigure", "StudyPlots", "figures_of"]


@dataclasses.dataclass(frozen=True)
class StudyFigure:
    """One figure of a study.

    Args:
        results: Names of the results that it is drawn from.
        draw: Draws it; None where it has nothing to show.
    """

    results: tuple[str, ...]
    draw: Callable[[Analysis], go.Figure | None]


def _rows(analysis: Analysis) -> tuple[Exponents, Exponents | None, list[Exponents]]:
    """Exponents in-sample, in fresh data, and under the nulls."""
    return (
        analysis.load("exponents-in-sample", Exponents),
        analysis.load_if_there("exponents-fresh", Exponents),
        _nulls(analysis),
    )


def _nulls(analysis: Analysis) -> list[Exponents]:
    return [analysis.load(name, Exponents) for name in analysis.folder.names("exponents-shuffled-")]


def _spectrum(analysis: Analysis) -> Spectrum:
    return analysis.load("spectrum", Spectrum)


def _profiles(analysis: Analysis) -> tuple[LossProfiles, tuple[int, ...]]:
    return analysis.load("profiles", LossProfiles), analysis.load("drawn-modes", DrawnModes).ranks


def _training(analysis: Analysis) -> go.Figure:
    spans = [("window", analysis.window)]
    spans += [("fresh data", analysis.windows.fresh)] if analysis.windows.fresh is not None else []
    steps = [(name, int(rows.steps[0]), int(rows.steps[-1])) for name, rows in spans]
    return plots.training_curves(analysis.load("training", TrainingHistory), steps, analysis.steps_per_epoch)


def _log_profiles(analysis: Analysis) -> go.Figure:
    drawn, ranks = _profiles(analysis)
    return plots.log_loss_profiles(
        drawn, analysis.load("profile-fits", ProfileFits), ranks, analysis.load("flatness", Flatness)
    )


def _correlation_time(analysis: Analysis) -> go.Figure:
    velocity = analysis.load_if_there("noise-velocity", VelocityStatistics)
    return plots.correlation_time_against_flatness(*_rows(analysis), None if velocity is None else velocity.white_time)


def _temperature(analysis: Analysis) -> go.Figure:
    noise = analysis.load("noise-gradient", GradientNoise)
    width = analysis.load("flatness", Flatness).width[: len(noise.variance)]
    return plots.temperature_against_flatness(noise, width, analysis.learning_rate)


def _temperature_profiles(analysis: Analysis) -> go.Figure:
    ranks = analysis.load("noise-springs", Springs).ranks
    return plots.temperature_profiles(analysis.load("noise-temperature", ActiveTemperature), drawn_ranks(ranks))


def _layers(analysis: Analysis) -> go.Figure:
    return plots.noise_against_curvature([analysis.load(name, NoiseAndCurvature) for name in layer_names(analysis)])


def _equilibrium(analysis: Analysis) -> go.Figure:
    rows = [analysis.load(f"exponents-{key}", Exponents) for key in ("hessian", "langevin")]
    return plots.equilibrium(rows[0], rows[1])


def _samplings(analysis: Analysis) -> go.Figure | None:
    if analysis.steps_per_epoch is None:
        return None
    found = analysis.load("flatness-and-curvature", FlatnessAndCurvature)
    names = [name for name in get_args(Sampling) if analysis.folder.has(f"exponents-sampling-{name}")]
    samplings = {name: analysis.load(f"exponents-sampling-{name}", Exponents) for name in names}
    kept = found.ranks <= len(next(iter(samplings.values())).width)
    facts = analysis.facts
    return plots.correlation_time_by_sampling(
        samplings, found.ranks[kept], found.curvature[kept], analysis.learning_rate, analysis.steps_per_epoch,
        facts.momentum if facts.optimizer == "SGD" else float("nan"),
    )  # fmt: skip


_SPECTRUM, _LAW = ("spectrum",), ("exponents-in-sample",)
FIGURES: dict[str, StudyFigure] = {
    "training_curves": StudyFigure(("training",), _training),
    "variance_spectrum": StudyFigure(_SPECTRUM, lambda a: plots.variance_spectrum(_spectrum(a), _nulls(a))),
    "accumulated_variance": StudyFigure(_SPECTRUM, lambda a: plots.accumulated_variance(_spectrum(a), _nulls(a))),
    "path_along_first_modes": StudyFigure(_SPECTRUM, lambda a: plots.path_in_plane(_spectrum(a), 1, 2)),
    "path_along_later_modes": StudyFigure(_SPECTRUM, lambda a: plots.path_in_plane(_spectrum(a), 49, 50)),
    "loss_profiles": StudyFigure(("profiles", "drawn-modes"), lambda a: plots.loss_profiles(*_profiles(a))),
    "log_loss_profiles": StudyFigure(("profiles", "profile-fits", "drawn-modes", "flatness"), _log_profiles),
    "flatness_against_rank": StudyFigure(
        ("flatness",), lambda a: plots.flatness_against_rank(a.load("flatness", Flatness), _nulls(a))
    ),
    "variance_against_flatness": StudyFigure(_LAW, lambda a: plots.variance_against_flatness(*_rows(a))),
    "minibatch_profiles": StudyFigure(
        ("noise-springs",), lambda a: plots.minibatch_profiles(a.load("noise-springs", Springs))
    ),
    "noise_against_flatness": StudyFigure(_LAW, lambda a: plots.noise_against_flatness(*_rows(a))),
    "correlation_time_against_flatness": StudyFigure(_LAW, _correlation_time),
    "velocity_autocorrelation": StudyFigure(
        ("noise-velocity",),
        lambda a: plots.velocity_autocorrelation(a.load("noise-velocity", VelocityStatistics), a.steps_per_epoch),
    ),
    "mean_squared_displacement": StudyFigure(
        ("noise-velocity",),
        lambda a: plots.mean_squared_displacement(a.load("noise-velocity", VelocityStatistics)),
    ),
    "spring_statistics": StudyFigure(
        ("noise-springs",), lambda a: plots.spring_statistics(a.load("noise-springs", Springs))
    ),
    "spring_predictions": StudyFigure(
        ("noise-springs",), lambda a: plots.spring_predictions(a.load("noise-springs", Springs))
    ),
    "temperature_profiles": StudyFigure(("noise-temperature", "noise-springs"), _temperature_profiles),
    "temperature_against_flatness": StudyFigure(("noise-gradient",), _temperature),
    "temperature_profiles_over_training": StudyFigure(
        ("noise-temperature-over-training",),
        lambda a: plots.temperature_profiles_over_training(
            a.load("noise-temperature-over-training", TemperatureOverTraining)
        ),
    ),
    "temperature_over_training": StudyFigure(
        ("noise-temperature-over-training",),
        lambda a: plots.temperature_over_training(a.load("noise-temperature-over-training", TemperatureOverTraining)),
    ),
    "temperature_against_loss": StudyFigure(
        ("noise-temperature-over-training",),
        lambda a: plots.temperature_against_loss(a.load("noise-temperature-over-training", TemperatureOverTraining)),
    ),
    "active_modes": StudyFigure(
        ("noise-activity",),
        lambda a: plots.active_modes(a.load("noise-activity", Activity), a.steps_per_epoch),
    ),
    "inverse_loss_over_training": StudyFigure(
        ("noise-drift-law",),
        lambda a: plots.inverse_loss_over_training(a.load("noise-drift-law", DriftLaw)),
    ),
    "loss_along_drift": StudyFigure(
        ("noise-drift-path",), lambda a: plots.loss_along_drift(a.load("noise-drift-path", DriftPath))
    ),
    "flatness_and_curvature": StudyFigure(
        ("flatness-and-curvature",),
        lambda a: plots.flatness_and_curvature(a.load("flatness-and-curvature", FlatnessAndCurvature)),
    ),
    "noise_against_curvature": StudyFigure((f"{LAYER}0-hessian",), _layers),
    "exponents": StudyFigure(("exponents-hessian",), lambda a: plots.exponents(exponent_rows(a))),
    "equilibrium": StudyFigure(("exponents-hessian", "exponents-langevin"), _equilibrium),
    "correlation_time_by_sampling": StudyFigure(
        ("exponents-sampling-reshuffled", "flatness-and-curvature"), _samplings
    ),
    "stationarity": StudyFigure(
        ("controls-yaida",), lambda a: plots.stationarity(a.load("controls-yaida", YaidaRelation))
    ),
    "variance_against_window": StudyFigure(
        ("growth",), lambda a: plots.variance_against_window(a.load("growth", Growth))
    ),
}
"""Every figure of the page, by the name of its call ``study.plots.NAME()``."""


def figures_of(analysis: Analysis) -> dict[str, go.Figure]:
    """The figures whose results are there, by name."""
    drawn = {}
    for name, entry in FIGURES.items():
        if all(analysis.folder.has(result) for result in entry.results):
            figure = entry.draw(analysis)
            if figure is not None:
                drawn[name] = figure
    return drawn


class StudyPlots:
    """Every figure of a study's page as a call: ``study.plots.variance_against_flatness()`` and the like.

    A figure is a plotly figure: it shows itself in a notebook, and ``write_html`` or (with kaleido) ``write_image``
    save it.

    Args:
        analysis: The study's analysis.
    """

    def __init__(self, analysis: Analysis) -> None:
        self._analysis = analysis

    def __dir__(self) -> list[str]:
        return sorted(FIGURES)

    def __getattr__(self, name: str) -> Callable[[], go.Figure]:
        if name.startswith("_") or name not in FIGURES:
            raise AttributeError(f"a study has no figure {name!r}; it has {', '.join(FIGURES)}")
        return lambda: self._drawn(name)

    def available(self) -> dict[str, go.Figure]:
        """Every figure whose results are there, by name."""
        return figures_of(self._analysis)

    def _drawn(self, name: str) -> go.Figure:
        entry, folder = FIGURES[name], self._analysis.folder
        missing = [result for result in entry.results if not folder.has(result)]
        if missing:
            reason = folder.read_note("not-measured").get(missing[0], "")
            raise InputError(
                expected=f"the results that the figure {name} is drawn from",
                got=f"none for {', '.join(missing)}" + (f": {reason}" if reason else ""),
                hint="study.analyse(noise=True, controls=True) makes all results that can be measured.",
            )
        figure = entry.draw(self._analysis)
        if figure is None:
            raise InputError(
                expected=f"something to draw in {name}", got="nothing: too few modes", hint="Record a longer window."
            )
        return figure
