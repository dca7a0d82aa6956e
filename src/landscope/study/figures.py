"""The figures of a study, each drawn from saved results; a new figure is one entry in :data:`FIGURES`."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, get_args

import numpy as np

from landscope import plots
from landscope._names import Sampling
from landscope.errors import InputError
from landscope.landscape import Flatness, sharp_dimension
from landscope.landscape.flatness_and_curvature import FlatnessAndCurvature
from landscope.law.exponents import Exponents
from landscope.law.run_limit import RunLimit
from landscope.noise.gradient import GradientNoise
from landscope.noise.temperature_over_training import drawn_ranks
from landscope.study import saved
from landscope.study.analysis import Analysis
from landscope.study.claims import layers_of
from landscope.study.exponents import exponent_rows
from landscope.study.saved import Saved
from landscope.training_history import TrainingHistory

if TYPE_CHECKING:
    import plotly.graph_objects as go

__all__ = ["FIGURES", "StudyFigure", "StudyPlots", "figures_of", "why_missing"]


@dataclasses.dataclass(frozen=True)
class StudyFigure:
    """One figure of a study.

    Args:
        results: The results that it is drawn from.
        draw: ``draw(analysis, *results)``; None where it has nothing to show. By default the call of the same name in
            :mod:`landscope.plots`, with the results.
        nothing: Why the results may hold nothing to draw.
    """

    results: tuple[Saved[Any], ...]
    draw: Callable[..., go.Figure | None] | None = None
    nothing: str = "the results give nothing to draw: too few modes or directions"


_against_flatness = functools.partial(
    StudyFigure,
    nothing="no direction has a measurable flatness: a smaller ratio, such as ls.Study(..., ratio=1.1), may find one",
)


def _training(analysis: Analysis, history: TrainingHistory) -> go.Figure:
    spans = [("window", analysis.window)]
    spans += [("fresh data", analysis.windows.fresh)] if analysis.windows.fresh is not None else []
    steps = [(name, int(rows.steps[0]), int(rows.steps[-1])) for name, rows in spans]
    return plots.training_curves(history, steps, analysis.steps_per_epoch)


def _temperature(analysis: Analysis, noise: GradientNoise, widths: Flatness) -> go.Figure | None:
    if math.isnan(analysis.learning_rate):  # not known: no temperature
        return None
    return plots.temperature_against_flatness(noise, widths.width[: len(noise.variance)], analysis.learning_rate)


def _correlation_time(analysis: Analysis, own: Exponents) -> go.Figure:
    velocity = analysis.load_if_there(saved.VELOCITY)
    white_time = None if velocity is None else velocity.white_time
    return plots.correlation_time_against_flatness(own, *_others(analysis), white_time)


def _others(analysis: Analysis) -> tuple[Exponents | None, list[Exponents], list[Exponents]]:
    """Exponents in fresh data and of both nulls, which stand beside those of the window."""
    return analysis.load_if_there(saved.FRESH), analysis.nulls, analysis.processes


def _samplings(analysis: Analysis, _: Exponents, both: FlatnessAndCurvature) -> go.Figure | None:
    if analysis.steps_per_epoch is None:
        return None
    rows = {name: analysis.load_if_there(saved.sampling(name)) for name in get_args(Sampling)}
    samplings = {name: row for name, row in rows.items() if row is not None}
    kept = both.ranks <= len(next(iter(samplings.values())).width)
    facts = analysis.facts
    return plots.correlation_time_by_sampling(
        samplings, both.ranks[kept], both.curvature[kept], analysis.learning_rate, analysis.steps_per_epoch,
        facts.momentum if facts.optimizer == "SGD" else float("nan"),
    )  # fmt: skip


def _psi_against_window(analysis: Analysis, _: RunLimit) -> go.Figure:
    titles = {"with-replacement": "with replacement", "reshuffled": "reshuffled", "checkpoints": "the run"}
    limits = {title: analysis.load_if_there(saved.run_limit(key, "curvature")) for key, title in titles.items()}
    return plots.psi_against_window({title: limit for title, limit in limits.items() if limit is not None})


def _sharp(analysis: Analysis, widths: Flatness) -> int:
    """D_s along the measured modes: those narrower than half the norm of the weights."""
    return sharp_dimension(widths, float(analysis.window.row(-1).double().norm()) / 2)


_SPECTRUM, _LAW, _SPRINGS = (saved.SPECTRUM,), (saved.IN_SAMPLE,), (saved.SPRINGS,)
_OVER_TRAINING = (saved.TEMPERATURE_OVER_TRAINING,)
FIGURES: dict[str, StudyFigure] = {
    "training_curves": StudyFigure((saved.TRAINING,), _training),
    "variance_spectrum": StudyFigure(_SPECTRUM, lambda a, own: plots.variance_spectrum(own, a.nulls)),
    "spectrum_exponents": StudyFigure(
        _SPECTRUM,
        lambda a, own: plots.spectrum_exponents(own, a.nulls, a.processes),
        nothing="too few modes move",
    ),
    "accumulated_variance": StudyFigure(_SPECTRUM, lambda a, own: plots.accumulated_variance(own, a.nulls)),
    "path_along_first_modes": StudyFigure(_SPECTRUM, lambda _, own: plots.path_in_plane(own, 1, 2)),
    "path_along_later_modes": StudyFigure(_SPECTRUM, lambda _, own: plots.path_in_plane(own, 49, 50)),
    "loss_profiles": StudyFigure(
        (saved.PROFILES, saved.DRAWN_MODES, saved.FLATNESS),
        lambda _, drawn, modes, widths: plots.loss_profiles(drawn, modes.ranks, widths.ratio),
    ),
    "log_loss_profiles": StudyFigure(
        (saved.PROFILES, saved.PROFILE_FITS, saved.DRAWN_MODES, saved.FLATNESS),
        lambda _, drawn, fits, modes, widths: plots.log_loss_profiles(drawn, fits, modes.ranks, widths),
    ),
    "loss_plane": StudyFigure(
        (saved.PLANE, saved.STATISTICS),
        lambda _, plane, statistics: plots.loss_plane(
            plane, statistics.cosine_content[:2], ("along mode 1", "along mode 2")
        ),
    ),
    "flatness_against_rank": _against_flatness(
        (saved.FLATNESS,), lambda a, widths: plots.flatness_against_rank(widths, a.nulls)
    ),
    "variance_against_flatness": _against_flatness(
        _LAW, lambda a, own: plots.variance_against_flatness(own, *_others(a))
    ),
    "variance_along_curvature": _against_flatness((saved.WINDOW_LIMIT,)),
    "minibatch_profiles": StudyFigure(_SPRINGS),
    "noise_against_flatness": _against_flatness(_LAW, lambda a, own: plots.noise_against_flatness(own, *_others(a))),
    "correlation_time_against_flatness": _against_flatness(_LAW, _correlation_time),
    "correlation_times_from_velocities": StudyFigure((saved.VELOCITY,)),
    "velocity_autocorrelation": StudyFigure(
        (saved.VELOCITY,), lambda a, velocity: plots.velocity_autocorrelation(velocity, a.steps_per_epoch)
    ),
    "mean_squared_displacement": StudyFigure((saved.VELOCITY,)),
    "spring_statistics": _against_flatness(_SPRINGS),
    "spring_predictions": _against_flatness(_SPRINGS),
    "temperature_profiles": StudyFigure(
        (saved.TEMPERATURE, saved.SPRINGS),
        lambda _, active, springs: plots.temperature_profiles(active, drawn_ranks(springs.ranks)),
    ),
    "temperature_against_flatness": _against_flatness((saved.GRADIENT_NOISE, saved.FLATNESS), _temperature),
    "temperature_profiles_over_training": StudyFigure(_OVER_TRAINING),
    "temperature_over_training": StudyFigure(_OVER_TRAINING),
    "temperature_against_loss": StudyFigure(_OVER_TRAINING),
    "cooling_rates_against_flatness": _against_flatness(
        (saved.TEMPERATURE_OVER_TRAINING, saved.FLATNESS),
        lambda _, cooling, widths: plots.cooling_rates_against_flatness(cooling, widths.width),
    ),
    "noise_scale_over_training": StudyFigure(_OVER_TRAINING),
    "modes_over_training": StudyFigure((saved.MODES_OVER_TRAINING,)),
    "sharpness_over_training": StudyFigure((saved.SHARPNESS_OVER_TRAINING,)),
    "active_modes": StudyFigure((saved.ACTIVITY,), lambda a, activity: plots.active_modes(activity, a.steps_per_epoch)),
    "inverse_loss_over_training": StudyFigure((saved.DRIFT_LAW,)),
    "loss_along_drift": StudyFigure(
        (saved.DRIFT_PATH,), nothing="needs evaluate=f with f(model) -> {'margin': ..., 'test_error': ...}"
    ),
    "loss_forms_along_drift": StudyFigure((saved.DRIFT_PATH,), nothing="the loss is not positive along the path"),
    "flatness_and_curvature": _against_flatness((saved.FLATNESS_AND_CURVATURE,)),
    "noise_against_curvature": StudyFigure(
        (saved.layer(0, "hessian"),), lambda a, _: plots.noise_against_curvature(layers_of(a))
    ),
    "exponents": StudyFigure(_LAW, lambda a, _: plots.exponents(exponent_rows(a))),
    "flatness_at_two_levels": _against_flatness((saved.FLATNESS, saved.SMALLER_FLATNESS)),
    "equilibrium": _against_flatness((saved.exponents("hessian"), saved.exponents("langevin"), saved.EQUILIBRIUM)),
    "correlation_time_by_sampling": StudyFigure(
        (saved.sampling("reshuffled"), saved.FLATNESS_AND_CURVATURE), _samplings
    ),
    "stationarity": StudyFigure(
        (saved.sampling("with-replacement"), saved.YAIDA), lambda _, __, yaida: plots.stationarity(yaida)
    ),
    "oscillation_by_direction": StudyFigure((saved.EDGE,), nothing="needs a recorded row for every step"),
    "response_and_correlation": StudyFigure((saved.RESPONSE,)),
    "response_temperature": _against_flatness(
        (saved.RESPONSE, saved.FLATNESS),
        lambda _, found, widths: plots.response_temperature(found, widths.width[found.ranks - 1]),
    ),
    "invariant_flatness": _against_flatness((saved.INVARIANT_FLATNESS,)),
    "learning_coefficient": StudyFigure(
        (saved.LEARNING_COEFFICIENT, saved.FLATNESS),
        lambda a, found, widths: plots.learning_coefficient(found, _sharp(a, widths)),
    ),
    "variance_against_window": StudyFigure((saved.GROWTH,)),
    "psi_in_growing_windows": _against_flatness(
        (saved.GROWTH,), lambda a, own: plots.psi_in_growing_windows(own, a.load_if_there(saved.WINDOW_LIMIT))
    ),
    "variance_and_relaxation": _against_flatness((saved.RUN_LIMIT,)),
    "psi_against_window": StudyFigure((saved.RUN_LIMIT,), _psi_against_window),
    "variance_after_correction": StudyFigure(
        (saved.ONE_WINDOW,),
        lambda a, found: plots.variance_after_correction(found, a.load_if_there(saved.FRESH_STATISTICS)),
    ),
}
"""Every figure of the page, by the name of its call ``study.plots.NAME()``."""


def figures_of(analysis: Analysis) -> dict[str, go.Figure]:
    """The figures whose results are there, by name."""
    there = (name for name, entry in FIGURES.items() if all(map(analysis.has, entry.results)))
    drawn = ((name, _draw(name, analysis)) for name in there)
    return {name: figure for name, figure in drawn if figure is not None}


def why_missing(analysis: Analysis, name: str) -> str | None:
    """Why a figure cannot be drawn: the reason, empty where the analysis did not come so far; None if it can be."""
    missing = _missing(analysis, name)
    if not missing:
        return None
    reasons = analysis.folder.read_note("not-measured")
    return next((reasons[result] for result in missing if result in reasons), "")


def _missing(analysis: Analysis, name: str) -> list[str]:
    return [result.name for result in FIGURES[name].results if not analysis.has(result)]


def _draw(name: str, analysis: Analysis) -> go.Figure | None:
    entry = FIGURES[name]
    results = [analysis.load(result) for result in entry.results]
    figure = getattr(plots, name)(*results) if entry.draw is None else entry.draw(analysis, *results)
    return figure if figure is not None and any(map(_shows_a_point, figure.data)) else None


def _shows_a_point(trace: Any) -> bool:
    """Whether a trace has a point at all: without any, plotly invents axes."""
    there = [np.asarray(values) for values in (trace.x, trace.y)]
    finite = [np.isfinite(values) if values.dtype.kind == "f" else np.ones(values.shape, bool) for values in there]
    return bool((finite[0] & finite[1]).any())


class StudyPlots:
    """Every figure of a study's page as a call: ``study.plots.variance_against_flatness()`` and the like.

    A figure is a plotly figure: it shows itself in a notebook, and ``write_html`` or (with kaleido) ``write_image``
    save it.

    Args:
        analysis: The study's analysis.
    """

    def __init__(self, analysis: Analysis) -> None:
        self._analysis = analysis

    def __repr__(self) -> str:
        return f"StudyPlots: each figure is a call; dir(...) lists the {len(FIGURES)} names"

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
        reason = why_missing(self._analysis, name)
        if reason is not None:
            raise InputError(
                expected=f"the results that the figure {name} is drawn from",
                got=f"none for {', '.join(_missing(self._analysis, name))}" + (f": {reason}" if reason else ""),
                hint="study.analyse(noise=True, controls=True, dynamics=True) makes all results that can be measured.",
            )
        figure = _draw(name, self._analysis)
        if figure is None:
            raise InputError(
                expected=f"something to draw in {name}",
                got=f"nothing: {FIGURES[name].nothing}",
                hint="Record a longer window, or choose other settings.",
            )
        return figure
