"""Parts of the dynamics that need a training which goes on from w0: one training for each order of the minibatches."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

import torch
from torch import Tensor

from landscope._names import Sampling
from landscope.directions.directions import Directions
from landscope.errors import InputError
from landscope.landscape import Flatness
from landscope.landscape.curvature import near_profiles, second_differences
from landscope.law.run_limit import RunLimit, run_limit
from landscope.noise.effective_curvature import EffectiveCurvature, effective_curvature
from landscope.noise.gradient import gradient_noise
from landscope.noise.mode_statistics import ModeStatistics, mode_statistics
from landscope.noise.stationarity import LyapunovResidual, YaidaRelation, lyapunov_residual, yaida_relation
from landscope.parameters import ParameterSpace, named_tensors
from landscope.recorder import TrajectoryRecorder
from landscope.results import Result
from landscope.risk import EmpiricalRisk
from landscope.study import saved
from landscope.study.analysis import Analysis, check_constant_rate
from landscope.study.first_step import FirstStep
from landscope.study.parts import NEEDS, Part
from landscope.study.same_training import CONTINUED, check_goes_on, note_steps
from landscope.study.saved import Saved
from landscope.study.training_facts import TrainingFacts, check_heavy_ball, facts_of
from landscope.study.training_on import call_train_on
from landscope.threads import one_thread
from landscope.trajectory import Trajectory

__all__ = ["continued_parts", "continued_statistics", "fitted_flatness", "fitted_modes", "limit_along"]

_AnyResult = TypeVar("_AnyResult", bound=Result)
_Basis = Literal["modes", "curvature"]

_BALANCED_MODES = 30
_POINTS = 100
"""Full gradients along a training that goes on."""
_CONTINUED_BYTES = 2**33
"""The most that the whole model at every step of a window may take on disk while it is measured."""
_WHOLE = ("with-replacement", "reshuffled")
"""Orders of the minibatches in which the whole model is recorded."""


@dataclasses.dataclass(frozen=True)
class _Continued:
    """What is measured of a training that went on.

    Args:
        statistics: Of the recorded weights along the principal modes.
        measured: Results that need the whole model, by name.
        reason: Why there are none.
    """

    statistics: ModeStatistics
    measured: dict[str, Result]
    reason: InputError | None = None


class _KeptGradients:
    """A risk whose gradients are kept: several results take them at the same points."""

    def __init__(self, risk: EmpiricalRisk) -> None:
        self.w0, self.hessian_vector_product, self._risk = risk.w0, risk.hessian_vector_product, risk
        self._kept: dict[bytes, Tensor] = {}

    def __call__(self, w: Tensor) -> Tensor:
        return self._risk(w)

    def gradient(self, w: Tensor) -> Tensor:
        key = w.cpu().numpy().tobytes()
        if key not in self._kept:
            self._kept[key] = self._risk.gradient(w)
        return self._kept[key]


def fitted_modes(analysis: Analysis) -> tuple[int, int]:
    """Range of the law for principal modes; the first one drifts."""
    first, last = analysis.settings.fit_modes
    return first, min(last, len(analysis.load(saved.FLATNESS).width))


def fitted_flatness(analysis: Analysis) -> Flatness:
    """Flatness of the principal modes up to the last of the law."""
    widths, last = analysis.load(saved.FLATNESS), fitted_modes(analysis)[1]
    return dataclasses.replace(widths, **{name: getattr(widths, name)[:last] for name in Flatness.dims})


def continued_statistics(analysis: Analysis, sampling: str) -> ModeStatistics:
    """Statistics along the principal modes after the training went on with an order of the minibatches."""
    return _continued(analysis, sampling).statistics


def continued_parts(analysis: Analysis) -> tuple[Part, ...]:
    """Yaida's relation, the Lyapunov equation, the effective curvature, and the limit of the run along two bases."""
    for sampling in get_args(Sampling):
        analysis.shared.pop(_key(sampling), None)  # an analysis that begins may be given more than the last one
    parts = [
        Part(result, functools.partial(_of_whole, "with-replacement", result),
             needs=("train_on", "minibatches", *needs), after=(saved.MODES,), is_optional=True)
        for result, needs in ((saved.YAIDA, ()), (saved.LYAPUNOV, ("hessian",)))
    ]  # fmt: skip
    for sampling, basis in itertools.product(_WHOLE, ("modes", "curvature")):
        parts += [
            Part(result, functools.partial(_of_whole, sampling, result), needs=("train_on",),
                 after=(saved.MODES if basis == "modes" else saved.basis_flatness("curvature"),),
                 uses=("epochs",) if sampling == "reshuffled" else (), is_optional=True)
            for result in (saved.effective_curvature(sampling, basis), saved.run_limit(sampling, basis))
        ]  # fmt: skip
    return tuple(parts)


def _of_whole(sampling: str, result: Saved[_AnyResult], analysis: Analysis) -> _AnyResult:
    found = _continued(analysis, sampling)
    if result.name not in found.measured:
        raise found.reason or InputError(
            expected=f"{result.name} of the training that went on", got="none", hint="An earlier part was left out."
        )
    measured = found.measured[result.name]
    if isinstance(measured, _Failed):
        raise measured.error
    assert isinstance(measured, result.kind)  # noqa: S101 - names and kinds go together
    return measured


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class _Failed(Result, kind="failed"):
    """A result that could not be measured, with the error."""

    error: Any


def _continued(analysis: Analysis, sampling: str) -> _Continued:
    """Train on once for all parts of one order, and keep what is measured, not the weights."""
    key = _key(sampling)
    if key not in analysis.shared:
        analysis.folder.path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=analysis.folder.path, prefix=".continued-") as folder:
            analysis.shared[key] = _measured(analysis, sampling, Path(folder))
    return analysis.shared[key]


def _key(sampling: str) -> str:
    return f"continued-{sampling}"


def _measured(analysis: Analysis, sampling: str, folder: Path) -> _Continued:
    too_large, names, modes = _too_large(analysis), analysis.space.names, analysis.load(saved.MODES)
    is_whole = sampling in _WHOLE and too_large is None
    window, facts, first = _train_on(analysis, sampling, folder, whole=is_whole)
    recorded = window.of_parameters(names) if is_whole else window
    thinned = recorded.thin(analysis.facts.every) if is_whole else recorded
    check_goes_on(analysis.folder, sampling, window)
    note_steps(analysis, sampling, thinned, first)
    statistics = mode_statistics(modes, thinned)
    if not is_whole:
        return _Continued(statistics, {}, too_large)
    measured = {}
    if sampling == "with-replacement":
        analysis.folder.note(CONTINUED, dataclasses.asdict(facts))
    gradients = _KeptGradients(analysis.risk_at(analysis.windows.step, window.space))
    with one_thread():  # gradients of a small network
        if sampling == "with-replacement" and not analysis.lacks("minibatches"):
            measured |= dict(_stationarity(analysis, window, gradients))
        measured |= dict(_relaxation(analysis, sampling, window, facts, gradients))
    return _Continued(statistics, measured)


def _stationarity(analysis: Analysis, window: Trajectory, risk: _KeptGradients) -> Iterator[tuple[str, Result]]:
    """Two relations that need independent minibatches."""
    modes, w0 = analysis.load(saved.MODES), analysis.risk.w0
    names, points = analysis.space.names, min(_POINTS, len(window) - 1)
    fitted, few = modes.part(slice(fitted_modes(analysis)[1])), modes.part(slice(1, 1 + _BALANCED_MODES))

    def yaida() -> YaidaRelation:
        return yaida_relation(
            window, risk, fitted, learning_rate=check_constant_rate(window), parameters=names, n_points=points
        )

    def lyapunov() -> LyapunovResidual:
        rate, covariance = check_constant_rate(window), gradient_noise(analysis.ensemble, w0, few.directions.to(w0))
        return lyapunov_residual(
            window, risk.hessian_vector_product, few, covariance.covariance, learning_rate=rate, parameters=names
        )

    yield saved.YAIDA.name, _or_failed(yaida)
    yield saved.LYAPUNOV.name, _or_failed(lyapunov)


def _relaxation(
    analysis: Analysis, sampling: str, window: Trajectory, facts: TrainingFacts, risk: _KeptGradients
) -> Iterator[tuple[str, Result]]:
    """The effective curvature along each basis, and the limit of the run."""
    names, points = analysis.space.names, min(_POINTS, len(window) - 1)
    recorded = window.of_parameters(names)
    for basis, directions, widths in _bases(analysis):
        # The same points as Yaida's, so that each gradient is taken once.
        local = second_differences(near_profiles(analysis.risk, analysis.risk.w0, directions, widths))
        found = effective_curvature(
            window.part(slice(len(window) - 1)), risk, directions, parameters=names, n_points=points,
            local_curvature=local, progress=analysis.progress,
        )  # fmt: skip
        yield saved.effective_curvature(sampling, basis).name, found
        make = functools.partial(_limit, analysis, sampling, directions, recorded, widths, found, facts)
        yield saved.run_limit(sampling, basis).name, _or_failed(make)


def _limit(
    analysis: Analysis, sampling: str, directions: Directions, window: Trajectory, widths: Flatness,
    effective: EffectiveCurvature, facts: TrainingFacts,
) -> RunLimit:  # fmt: skip
    epoch = analysis.steps_per_epoch if sampling == "reshuffled" else None
    if sampling == "reshuffled" and epoch is None:
        raise InputError(expected=NEEDS["epochs"], got="none", hint="The order of minibatches rules flat directions.")
    return limit_along(directions, window, widths, effective, facts, check_constant_rate(window), epoch)


def _or_failed(make: Any) -> Result:
    try:
        return make()
    except InputError as error:
        return _Failed(error=error)


def limit_along(
    directions: Directions, window: Trajectory, widths: Flatness, effective: EffectiveCurvature, facts: TrainingFacts,
    learning_rate: float, steps_per_epoch: int | None,
) -> RunLimit:  # fmt: skip
    """The limit of a training of which some facts are known.

    Raises:
        InputError: If its optimiser is not SGD with options that the formula has.
    """
    check_heavy_ball(facts, hint="The relaxation of other optimisers is not that of the curvature alone.")
    epoch = steps_per_epoch if steps_per_epoch is not None and steps_per_epoch > 1 else None
    return run_limit(
        directions, window, widths, effective, learning_rate=learning_rate, momentum=facts.momentum,
        weight_decay=facts.weight_decay, steps_per_epoch=epoch,
    )  # fmt: skip


def _bases(analysis: Analysis) -> Iterator[tuple[_Basis, Directions, Flatness]]:
    last = fitted_modes(analysis)[1]
    yield "modes", analysis.load(saved.MODES).part(slice(last)), fitted_flatness(analysis)
    if analysis.has(saved.CURVATURE) and analysis.has(saved.basis_flatness("curvature")):
        yield "curvature", analysis.load(saved.CURVATURE), analysis.load(saved.basis_flatness("curvature"))


def _too_large(analysis: Analysis) -> InputError | None:
    """Why the whole model cannot be recorded at every step."""
    whole, steps = ParameterSpace.of(analysis.subject.model), _steps_of_the_window(analysis)
    size = steps * whole.dim * torch.finfo(analysis.risk.w0.dtype).bits // 8
    if size <= _CONTINUED_BYTES:
        return None
    return InputError(
        expected=f"a window of the whole model, as all weights move, of at most {_CONTINUED_BYTES >> 30} GiB",
        got=f"{size / 2**30:.1f} GiB: {steps} steps of {whole.dim} weights",
        hint="Choose a shorter window.",
    )


def _train_on(
    analysis: Analysis, sampling: str, folder: Path, *, whole: bool
) -> tuple[Trajectory, TrainingFacts, FirstStep]:
    """Train on from w0 for a window; every step of all weights that the optimiser trains, or the recorded rows."""
    model, n_steps, facts = analysis.model_at(analysis.windows.step), _steps_of_the_window(analysis), []
    every = 1 if whole else analysis.facts.every

    def record(optimizer: torch.optim.Optimizer) -> TrajectoryRecorder:
        chosen = _trained(model, optimizer, analysis.space.names) if whole else analysis.space.names
        recorder = TrajectoryRecorder(model, optimizer, chosen, path=folder / "rows", every=every)
        facts.append(facts_of(optimizer, recorder.groups, every))
        return recorder

    recorder, first = call_train_on(
        analysis, model, record, sampling=sampling, n_steps=n_steps, seed=analysis.settings.seed + 1
    )
    return _whole_window(recorder.trajectory(), n_steps // every), facts[-1], first


def _trained(model: torch.nn.Module, optimizer: torch.optim.Optimizer, also: tuple[str, ...]) -> list[str] | None:
    """Names of the parameters that an optimiser trains, and of others; None, which is refused, if it trains none."""
    held = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    named = list(named_tensors(model).items())
    trained = {name for name, tensor in named if tensor.requires_grad and id(tensor) in held}
    return [name for name, _ in named if name in trained or name in also] if trained else None


def _steps_of_the_window(analysis: Analysis) -> int:
    return len(analysis.window) * analysis.facts.every


def _whole_window(continued: Trajectory, rows: int) -> Trajectory:
    """As many rows as the window has; variances of windows of different lengths do not compare."""
    if len(continued) < rows:
        raise InputError(
            expected=f"{rows} recorded rows of the training that goes on, as many as the window asks",
            got=f"{len(continued)}",
            hint="Let train_on take all n_steps steps inside `with record(optimizer):`.",
        )
    return continued.part(slice(rows))
