"""The fourth stage: minibatch noise along the modes (paper, Figs. 3 and 5, sections S1 to S5); nothing is trained."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from landscope.directions.directions import Directions
from landscope.directions.over_training import ModesOverTraining, modes_over_training
from landscope.directions.principal import principal_modes
from landscope.errors import InputError
from landscope.landscape.dimension import learning_dimension_over_time
from landscope.landscape.flatness_and_curvature import FlatnessAndCurvature, measure_flatness_and_curvature
from landscope.noise.drift import DriftLaw, Phases, drift_law, learning_phases
from landscope.noise.drift_path import Activity
from landscope.noise.gradient import GradientNoise, gradient_noise
from landscope.noise.log_hessian import LogHessian, log_hessian
from landscope.noise.noise_and_curvature import (
    LAYER_BASES,
    LayerBasis,
    NoiseAndCurvature,
    measure_noise_and_curvature,
)
from landscope.noise.springs import Springs, measure_springs, nearest_ranks, spring_ranks
from landscope.noise.temperature import ActiveTemperature, active_temperature
from landscope.noise.temperature_over_training import (
    TemperatureOverTraining,
    drawn_ranks,
    measure_temperature_over_training,
)
from landscope.noise.velocity import VelocityStatistics, velocity_statistics
from landscope.parameters import ParameterSpace
from landscope.results import Result
from landscope.study import saved
from landscope.study.analysis import Analysis
from landscope.study.drift_path import walk_along_drift
from landscope.study.parts import Need, Part, Stage
from landscope.study.saved import Saved
from landscope.surrogates.shuffled import shuffled_increments
from landscope.threads import one_thread

__all__ = ["NOISE", "OF_HISTORY", "measured_ranks"]

OF_HISTORY = (saved.DRIFT_LAW.name, saved.PHASES.name)
"""Names of the results that are made of the losses during the training."""
_MIN_MODES = 3
_MIN_LOSSES = 4
_FEW_MODES = 12
_TURNING_MODES = 5
"""First modes whose span is followed through the training."""
_LAYER_MODES = 30
_MAX_LAG = 500
_ACTIVITY_SHARE = 20
"""Without epochs, the recording is cut into this many stretches."""


def measured_ranks(analysis: Analysis) -> Tensor:
    """Ranks of the log-spaced modes along which the minibatch losses are measured."""
    ranks = spring_ranks(analysis.load(saved.FLATNESS), analysis.settings.noise_modes)
    if len(ranks) < _MIN_MODES:
        raise InputError(
            expected=f"at least {_MIN_MODES} modes with a flatness within reach, to measure minibatch losses along",
            got=f"{len(ranks)}",
            hint="Train longer, or measure the flatness of more modes.",
        )
    return ranks


def _modes(analysis: Analysis) -> Directions:
    return analysis.load(saved.MODES)


def _basin(analysis: Analysis, rank: int, points: int = 21) -> Tensor:
    """Displacements over the basin of a mode."""
    width = analysis.load(saved.FLATNESS).width
    reach = width[rank - 1] if bool(torch.isfinite(width[rank - 1])) else width.nanmedian()
    return float(reach) / 2 * torch.linspace(-1, 1, points, dtype=torch.float64)


def _velocity(analysis: Analysis) -> VelocityStatistics:
    window, epoch = analysis.window, analysis.rows_per_epoch
    lag = min(epoch or _MAX_LAG, len(window) // 4)
    return velocity_statistics(window, _modes(analysis), lag, steps_per_epoch=analysis.steps_per_epoch)


def _null_velocity(analysis: Analysis) -> VelocityStatistics:
    """The first mode of shuffled increments: PCA alone makes it look persistent."""
    null = shuffled_increments(analysis.window, seed=analysis.settings.seed)
    return velocity_statistics(null, principal_modes(null, 1), 1, steps_per_epoch=analysis.steps_per_epoch)


def _fresh_velocity(analysis: Analysis) -> VelocityStatistics:
    fitted = _modes(analysis).part(slice(analysis.settings.fit_modes[1]))
    return velocity_statistics(analysis.fresh, fitted, 1, steps_per_epoch=analysis.steps_per_epoch)


def _springs(analysis: Analysis) -> Springs:
    return measure_springs(
        analysis.ensemble, analysis.risk.w0, _modes(analysis).directions, analysis.load(saved.FLATNESS),
        analysis.load(saved.VELOCITY), learning_rate=analysis.learning_rate,
        n_modes=analysis.settings.noise_modes, progress=analysis.progress,
    )  # fmt: skip


def _gradient(analysis: Analysis) -> GradientNoise:
    fitted = min(analysis.settings.fit_modes[1], len(analysis.load(saved.FLATNESS).width))
    directions = _modes(analysis).directions[:fitted]
    return gradient_noise(
        analysis.ensemble, analysis.risk.w0, directions.to(analysis.risk.w0), progress=analysis.progress
    )


def _log_hessian(analysis: Analysis) -> LogHessian:
    """Along mode 1 and a few log-spaced others."""
    ranks = measured_ranks(analysis)
    few = torch.cat([torch.tensor([1]), ranks[:: max(1, len(ranks) // _FEW_MODES)][:_FEW_MODES]]).unique()
    directions = _modes(analysis).directions[few - 1]
    return log_hessian(analysis.ensemble, analysis.risk.w0, directions.to(analysis.risk.w0), progress=analysis.progress)


def _temperature(analysis: Analysis) -> ActiveTemperature:
    drawn = drawn_ranks(measured_ranks(analysis))
    displacements = torch.stack([_basin(analysis, int(rank)) for rank in drawn])
    return active_temperature(
        analysis.ensemble, analysis.risk.w0, _modes(analysis).directions[drawn - 1].to(analysis.risk.w0), displacements,
        learning_rate=analysis.learning_rate, progress=analysis.progress,
    )  # fmt: skip


def _temperature_over_training(analysis: Analysis) -> TemperatureOverTraining:
    ranks = measured_ranks(analysis)
    (drawn,) = nearest_ranks(ranks, (10,)).tolist()
    return measure_temperature_over_training(
        analysis.ensembles_at_checkpoints(), len(analysis.checkpoints.steps()),
        _modes(analysis).directions[ranks - 1], ranks, _basin(analysis, int(ranks[drawn])),
        learning_rates=analysis.rates_at_checkpoints, steps_per_epoch=analysis.steps_per_epoch or 1,
        batch_size=analysis.batch_size or 1, drawn=drawn,
        progress=analysis.progress,
    )  # fmt: skip


def _modes_over_training(analysis: Analysis) -> ModesOverTraining:
    return modes_over_training(
        analysis.recorded, min(_TURNING_MODES, analysis.recorded.dim), seed=analysis.settings.seed,
        progress=analysis.progress,
    )  # fmt: skip


def _flatness_and_curvature(analysis: Analysis) -> FlatnessAndCurvature:
    return measure_flatness_and_curvature(
        analysis.risk, analysis.risk.w0, _modes(analysis).directions, analysis.load(saved.FLATNESS),
        measured_ranks(analysis), progress=analysis.progress,
    )  # fmt: skip


def _layer(name: str, basis: LayerBasis, analysis: Analysis) -> NoiseAndCurvature:
    """Gradient noise against curvature in one layer, along one of two sets of eigenvectors."""
    model = analysis.model_at(analysis.windows.step)
    risk = analysis.subject.risk(model, ParameterSpace.of(model, name), batch_norm=analysis.settings.batch_norm)
    ensemble = analysis.ensemble_of(risk)
    with one_thread():  # the bits must not depend on the number of threads
        n_modes = min(_LAYER_MODES, risk.space.dim - 1, ensemble.n_batches - 1)
        return measure_noise_and_curvature(name, risk, ensemble, risk.w0, n_modes, basis, progress=analysis.progress)


def _check_points(count: int, when: str) -> None:
    if count < _MIN_LOSSES:
        raise InputError(
            expected=f"the training loss at {_MIN_LOSSES} points {when}",
            got=f"{count}",
            hint="Let evaluate(model) give train_loss, or keep losses with study.save_history(...).",
        )


def _drift_law(analysis: Analysis) -> DriftLaw:
    history, facts = analysis.history, analysis.facts
    assert history is not None  # noqa: S101 - the part needs it
    kept = (history.steps >= int(analysis.window.steps[0])) & torch.isfinite(history.train_loss)
    _check_points(int(kept.sum()), "from the window on")
    if facts.groups_differ:
        raise InputError(
            expected="recorded weights with one momentum and learning rate",
            got="parameter groups that differ",
            hint="Record the weights of one group with select=.",
        )
    return drift_law(
        history.steps[kept].double(), history.train_loss[kept],
        beta=analysis.load(saved.DRIFT_PATH).beta_slope,
        learning_rate=analysis.learning_rate / (1 - facts.momentum),
    )  # fmt: skip


def _phases(analysis: Analysis) -> Phases:
    history = analysis.history
    assert history is not None  # noqa: S101 - the part needs it
    kept = (history.steps > 0) & torch.isfinite(history.train_loss)
    _check_points(int(kept.sum()), "during the training")
    return learning_phases(history.train_loss[kept], history.train_error[kept])


def _activity(analysis: Analysis) -> Activity:
    rows = max(3, analysis.rows_per_epoch or len(analysis.recorded) // _ACTIVITY_SHARE)
    steps, dimension, without = learning_dimension_over_time(analysis.recorded, rows, 0.99)
    return Activity(steps=steps, dimension=dimension, dimension_without_drift=without, fraction=0.99, rows=rows)


def _weight_matrices(analysis: Analysis) -> list[str]:
    """Names of the matrices, as the folder keeps them: a study that is read needs no model."""
    kept = analysis.folder.read_note("training").get("weight_matrices")
    return analysis.subject.weight_matrices if kept is None else kept


def _noise(result: Saved[Any], make: Callable[[Analysis], Result], *needs: Need, uses: tuple[str, ...] = ()) -> Part:
    """A part that is made from minibatch losses."""
    return Part(result, make, needs=("minibatches", *needs), uses=uses, is_optional=True)


def _parts(analysis: Analysis) -> tuple[Part, ...]:
    layers = [
        _noise(saved.layer(number, basis), functools.partial(_layer, name, basis), "hessian_of_layers")
        for number, name in enumerate(_weight_matrices(analysis))
        for basis in LAYER_BASES
    ]
    return (
        Part(saved.VELOCITY, _velocity, uses=("epochs",), is_optional=True),
        Part(
            saved.SPRINGS, _springs, needs=("minibatches", "learning_rate"), after=(saved.VELOCITY,),
            is_optional=True,
        ),
        _noise(saved.GRADIENT_NOISE, _gradient),
        _noise(saved.LOG_HESSIAN, _log_hessian, "hessian"),
        _noise(saved.TEMPERATURE, _temperature, "learning_rate"),
        _noise(
            saved.TEMPERATURE_OVER_TRAINING, _temperature_over_training, "learning_rate",
            "checkpoints", uses=("epochs",),
        ),
        Part(saved.MODES_OVER_TRAINING, _modes_over_training, is_optional=True),
        Part(saved.FLATNESS_AND_CURVATURE, _flatness_and_curvature, needs=("hessian",), is_optional=True),
        *layers,
        Part(
            saved.DRIFT_PATH, walk_along_drift, uses=("evaluate", "minibatches", saved.LOG_HESSIAN.name),
            is_optional=True,
        ),
        Part(
            saved.DRIFT_LAW, _drift_law, needs=("history", "learning_rate"), after=(saved.DRIFT_PATH,),
            is_optional=True,
        ),
        Part(saved.PHASES, _phases, needs=("history",), is_optional=True),
        Part(saved.ACTIVITY, _activity, uses=("epochs",), is_optional=True),
        Part(saved.NULL_VELOCITY, _null_velocity, uses=("epochs",), is_optional=True),
        Part(
            saved.FRESH_VELOCITY, _fresh_velocity, needs=("fresh",), uses=("epochs",),
            is_optional=True,
        ),
    )  # fmt: skip


NOISE = Stage("noise", "Minibatch noise", _parts)
