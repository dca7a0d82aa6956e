"""The fifth stage: other directions, surrogates, other orders of the minibatches, and thermal equilibrium."""

from __future__ import annotations

import dataclasses
import functools
import math
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import get_args

import torch
from torch import Tensor

from landscope._names import Sampling
from landscope.directions.directions import Directions
from landscope.directions.gradient_noise_eigenvectors import gradient_noise_eigenvectors
from landscope.directions.hessian_eigenvectors import hessian_eigenvectors
from landscope.directions.random_directions import random_directions
from landscope.errors import InputError
from landscope.landscape import Flatness, LossProfiles, flatness, loss_profiles
from landscope.law.exponents import Exponents, fit_exponents, measure_exponents
from landscope.law.sensitivity import Sensitivity, measure_sensitivity
from landscope.law.window_growth import Growth, measure_growth
from landscope.noise.gradient import gradient_noise
from landscope.noise.mode_statistics import mode_statistics
from landscope.noise.stationarity import LyapunovResidual, YaidaRelation, lyapunov_residual, yaida_relation
from landscope.parameters import ParameterSpace
from landscope.recorder import TrajectoryRecorder
from landscope.study import saved
from landscope.study.analysis import Analysis, check_constant_rate
from landscope.study.parts import Part, Stage
from landscope.study.seeded import seeded
from landscope.study.training_facts import TrainingFacts, facts_of
from landscope.surrogates.langevin import langevin
from landscope.surrogates.registry import SURROGATES, make_surrogate
from landscope.threads import one_thread
from landscope.trajectory import Trajectory

__all__ = ["CONTROLS", "ROWS", "near_curvature"]

BASES = {
    "hessian": "Hessian eigenvectors",
    "gradient-noise": "gradient-noise eigenvectors",
    "random": "random directions",
}
_SURROGATES = {name: f"surrogate: {null.title}" for name, null in SURROGATES.items() if name != "shuffled"}
"""The stage of the law makes the shuffled ones."""
ROWS = {
    "hessian": f"{BASES['hessian']}, window",
    "hessian-fresh": f"{BASES['hessian']}, fresh data",
    "gradient-noise": f"{BASES['gradient-noise']}, window",
    "random": f"{BASES['random']}, window",
    **_SURROGATES,
    "langevin": "equilibrium: isotropic Langevin, Hessian eigenvectors",
    **{f"sampling-{name}": f"continued, {name}, same modes" for name in get_args(Sampling)},
}
"""Rows of the table of exponents that this stage adds, by the name of their result."""

_BURN_IN = 0.2
_NEAR = 0.02
"""Second differences are taken over this share of the flatness: about as far as the equilibrium control walks."""
_BALANCED_MODES = 30
_YAIDA_POINTS = 100
_CONTINUED_BYTES = 2**33
"""The most that the whole model at every step of a window may take on disk while stationarity is tested."""
_RELAXATIONS = 50
"""How many independent values, T eta lambda/2, the equilibrium control must have in a direction for it to count."""
_LANGEVIN_EXCESS = 5e-4
"""Thermal energy of the equilibrium control over L0: k T/2 summed over the directions it moves in."""


def _fit_modes(analysis: Analysis) -> tuple[int, int]:
    """Range of the law for principal modes; the first one drifts."""
    first, last = analysis.settings.fit_modes
    return first, min(last, len(analysis.load(saved.FLATNESS).width))


def _fitted_flatness(analysis: Analysis) -> Flatness:
    widths, last = analysis.load(saved.FLATNESS), _fit_modes(analysis)[1]
    return dataclasses.replace(widths, **{name: getattr(widths, name)[:last] for name in Flatness.dims})


def _basis(key: str, analysis: Analysis) -> Directions:
    """Hessian, gradient-noise or random directions at w0."""
    seed, count = analysis.settings.seed, min(analysis.settings.basis_modes, analysis.window.dim - 1)
    if key == "hessian":
        with one_thread():
            return hessian_eigenvectors(analysis.risk, analysis.risk.w0, count, seed=seed, progress=analysis.progress)
    if key == "gradient-noise":
        batches = len(analysis.ensemble.batch_losses(analysis.risk.w0))
        return gradient_noise_eigenvectors(analysis.ensemble, analysis.risk.w0, min(count, batches - 1))
    return random_directions(analysis.window.dim, count, seed=seed)


def _basis_flatness(key: str, analysis: Analysis) -> Flatness:
    directions = analysis.load(saved.basis(key)).directions.to(analysis.risk.w0)
    return flatness(
        analysis.risk,
        analysis.risk.w0,
        directions,
        ratio=analysis.settings.ratio,
        rtol=analysis.settings.rtol,
        progress=analysis.progress,
    )


def _along(name: str, basis: Directions, widths: Flatness, trajectory: Trajectory, analysis: Analysis) -> Exponents:
    """Exponents along directions that variance did not choose: all of them count."""
    statistics = mode_statistics(basis, trajectory)
    fitted = (1, len(widths.width))
    return fit_exponents(name, statistics, widths, fitted, spectrum_ranks=analysis.settings.spectrum_ranks)


def _basis_row(key: str, analysis: Analysis) -> Exponents:
    kind = key.removesuffix("-fresh")
    window = analysis.fresh if key.endswith("-fresh") else analysis.window
    basis, widths = analysis.load(saved.basis(kind)), analysis.load(saved.basis_flatness(kind))
    return _along(ROWS[key], basis, widths, window, analysis)


def _surrogate_row(key: str, analysis: Analysis) -> Exponents:
    made = make_surrogate(
        key, analysis.window, analysis.load(saved.MODES), seed=analysis.settings.seed,
        steps_per_epoch=analysis.steps_per_epoch or len(analysis.window),
    )  # fmt: skip
    return measure_exponents(
        ROWS[key], analysis.risk, analysis.risk.w0, made, fit_modes=_fit_modes(analysis),
        spectrum_ranks=analysis.settings.spectrum_ranks, rtol=analysis.settings.rtol, ratio=analysis.settings.ratio,
        progress=analysis.progress,
    )  # fmt: skip


def _near_profiles(analysis: Analysis) -> LossProfiles:
    step = _near_step(analysis.load(saved.basis_flatness("hessian")))
    return loss_profiles(
        analysis.risk, analysis.risk.w0, analysis.load(saved.basis("hessian")).directions.to(analysis.risk.w0),
        step[:, None] * torch.tensor([-1.0, 0.0, 1.0], dtype=torch.float64),
    )  # fmt: skip


def _near_step(widths: Flatness) -> Tensor:
    return _NEAR * torch.nan_to_num(widths.width, nan=1.0)


def near_curvature(profiles: LossProfiles, widths: Flatness) -> Tensor:
    """Curvature along the Hessian eigenvectors by second differences.

    The kinks of ReLUs count in it, as they do for a walk; automatic differentiation sees none.
    """
    left, middle, right = profiles.loss.T
    return (left + right - 2 * middle) / _near_step(widths).square()


def _langevin_row(analysis: Analysis) -> Exponents:
    """Isotropic noise within the convex part of the Hessian basis; only directions that equilibrated count."""
    basis, widths = analysis.load(saved.basis("hessian")), analysis.load(saved.basis_flatness("hessian"))
    n_steps, name = analysis.settings.langevin_steps, ROWS["langevin"]
    convex = basis.values > 0
    if not bool(convex.any()):  # nothing holds the walk: no direction counts
        nowhere = dataclasses.replace(widths, bracketed=torch.zeros_like(widths.bracketed))
        return _along(name, basis, nowhere, analysis.window, analysis)
    directions = basis.directions[convex]
    temperature, step = 2 * _LANGEVIN_EXCESS * widths.loss0 / len(directions), 1 / float(basis.values[0])
    with one_thread():
        walk = langevin(
            analysis.risk, analysis.risk.w0, temperature=temperature, step=step, n_steps=n_steps,
            seed=analysis.settings.seed, within=directions, progress=analysis.progress,
        )  # fmt: skip
    walk = walk.window(int(_BURN_IN * n_steps))
    # By what is known beforehand: choosing by the measured memory would choose small variances.
    settled = step * basis.values * len(walk) / 2 >= _RELAXATIONS
    return _along(name, basis, dataclasses.replace(widths, bracketed=widths.bracketed & settled), walk, analysis)


def _continued(
    sampling: str, analysis: Analysis, select: Iterable[str] | None, every: int, folder: Path | None = None
) -> tuple[Trajectory, TrainingFacts]:
    """Train on from w0 for a window with another order of the minibatches; kept in a folder where one is given.

    Without a selection all weights are recorded that the optimiser trains.
    """
    train_on, n_steps = analysis.subject.train_on, _steps_of_the_window(analysis)
    assert train_on is not None  # noqa: S101 - the part needs it
    model, recorders, facts = analysis.model_at(analysis.windows.step), [], []

    def record(optimizer: torch.optim.Optimizer) -> TrajectoryRecorder:
        path = None if folder is None else folder / f"{len(recorders)}"
        chosen = _trained(model, optimizer) if select is None else select
        recorders.append(TrajectoryRecorder(model, optimizer, chosen, path=path, every=every))
        facts.append(facts_of(optimizer, recorders[-1].groups, every))
        return recorders[-1]

    seed = analysis.settings.seed + 1
    try:
        with seeded(seed):  # what the loop draws beside its minibatches, such as dropout
            train_on(model, record, sampling=sampling, n_steps=n_steps, seed=seed)
    except NotImplementedError as error:
        raise InputError(
            expected=f"a training that offers the order {sampling}", got="none", hint=str(error) or "It is left out."
        ) from error
    if not recorders:
        raise InputError(
            expected="a training inside `with record(optimizer):`", got="none", hint="See ls.Study(train_on=...)."
        )
    return _whole_window(recorders[-1].trajectory(), n_steps // every), facts[-1]


def _trained(model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> list[str] | None:
    """Names of the parameters that an optimiser trains; None, which is refused, if it trains none of this model."""
    held = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    named = model.named_parameters(remove_duplicate=False)
    return [name for name, tensor in named if tensor.requires_grad and id(tensor) in held] or None


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


def _sampling_row(sampling: str, analysis: Analysis) -> Exponents:
    continued, _ = _continued(sampling, analysis, analysis.space.names, analysis.facts.every)
    statistics = mode_statistics(analysis.load(saved.MODES), continued)
    return fit_exponents(
        ROWS[f"sampling-{sampling}"], statistics, _fitted_flatness(analysis), _fit_modes(analysis),
        spectrum_ranks=analysis.settings.spectrum_ranks,
    )  # fmt: skip


def _yaida(analysis: Analysis) -> YaidaRelation:
    return _stationarity(analysis)[0]


def _lyapunov(analysis: Analysis) -> LyapunovResidual:
    return _stationarity(analysis)[1]


def _stationarity(analysis: Analysis) -> tuple[YaidaRelation, LyapunovResidual]:
    """Two relations that need independent minibatches, on the training continued with them, every step and weight."""
    if "stationarity" not in analysis.shared:
        whole = ParameterSpace.of(analysis.subject.model)
        size = _steps_of_the_window(analysis) * whole.dim * torch.finfo(analysis.risk.w0.dtype).bits // 8
        if size > _CONTINUED_BYTES:
            raise InputError(
                expected=f"a window of the whole model, as all weights move, of at most {_CONTINUED_BYTES >> 30} GiB",
                got=f"{size / 2**30:.1f} GiB: {_steps_of_the_window(analysis)} steps of {whole.dim} weights",
                hint="Choose a shorter window.",
            )
        analysis.folder.path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=analysis.folder.path, prefix=".continued-") as folder:
            continued, facts = _continued("with-replacement", analysis, None, 1, Path(folder))
            analysis.shared["stationarity"] = _test_stationarity(continued, analysis)
        analysis.folder.note("continued", dataclasses.asdict(facts))
    return analysis.shared["stationarity"]


def _test_stationarity(continued: Trajectory, analysis: Analysis) -> tuple[YaidaRelation, LyapunovResidual]:
    modes, rate, w0 = analysis.load(saved.MODES), check_constant_rate(continued), analysis.risk.w0
    fitted, few = modes.part(slice(_fit_modes(analysis)[1])), modes.part(slice(1, 1 + _BALANCED_MODES))
    covariance = gradient_noise(analysis.ensemble, w0, few.directions.to(w0)).covariance
    whole, names = analysis.risk_at(analysis.windows.step, continued.space), analysis.space.names
    with one_thread():  # gradients of a small network
        points = min(_YAIDA_POINTS, len(continued) - 1)
        return (
            yaida_relation(continued, whole, fitted, learning_rate=rate, parameters=names, n_points=points),
            lyapunov_residual(
                continued, whole.hessian_vector_product, few, covariance, learning_rate=rate, parameters=names
            ),
        )


def _growth(analysis: Analysis) -> Growth:
    """Variance against the length of the window, along directions that it did not choose."""
    basis, widths = analysis.load(saved.basis("hessian")), analysis.load(saved.basis_flatness("hessian"))
    return measure_growth(analysis.recorded, basis, widths, analysis.rows_per_epoch or 1)


def _sensitivity(analysis: Analysis) -> Sensitivity:
    """The in-sample exponents under other choices."""
    modes, last, rtol = analysis.load(saved.MODES), _fit_modes(analysis)[1], analysis.settings.rtol
    ratio = analysis.settings.ratio
    smaller_ratio = 2.0 if ratio == math.e else ratio ** math.log(2)
    smaller = flatness(
        analysis.risk, analysis.risk.w0, modes.directions[:last].to(analysis.risk.w0), ratio=smaller_ratio,
        rtol=rtol,
        progress=analysis.progress,
    )  # fmt: skip
    return measure_sensitivity(
        analysis.risk, analysis.risk.w0, analysis.window, analysis.recorded, modes, _fitted_flatness(analysis), smaller,
        analysis.load_if_there(saved.FRESH),
        analysis.nulls,
        fit_modes=_fit_modes(analysis), rows_per_epoch=analysis.rows_per_epoch, rtol=rtol,
    )  # fmt: skip


def _parts(analysis: Analysis) -> tuple[Part, ...]:  # noqa: ARG001 - stages share a form
    bases = []
    for key in BASES:
        needs = ("minibatches",) if key == "gradient-noise" else ()
        bases += [
            Part(saved.basis(key), functools.partial(_basis, key), needs=needs, is_optional=True),
            Part(
                saved.basis_flatness(key), functools.partial(_basis_flatness, key), after=(saved.basis(key),),
                is_optional=True,
            ),
        ]  # fmt: skip
    rows = [
        Part(
            saved.exponents(key), functools.partial(_basis_row, key),
            needs=("fresh",) if key.endswith("-fresh") else (),
            after=(saved.basis_flatness(key.removesuffix("-fresh")),),
        )
        for key in ("hessian", "hessian-fresh", "gradient-noise", "random")
    ]  # fmt: skip
    surrogates = [
        Part(
            saved.exponents(key), functools.partial(_surrogate_row, key),
            needs=("epochs",) if SURROGATES[key].needs_epochs else (), is_optional=True,
        )
        for key in _SURROGATES
    ]  # fmt: skip
    samplings = [
        Part(
            saved.sampling(name), functools.partial(_sampling_row, name), needs=("train_on",),
            is_optional=True,
        )
        for name in get_args(Sampling)
    ]  # fmt: skip
    return (
        *bases,
        *rows,
        *surrogates,
        Part(saved.PROFILES_NEAR, _near_profiles, after=(saved.basis_flatness("hessian"),)),
        Part(saved.exponents("langevin"), _langevin_row, after=(saved.basis_flatness("hessian"),), is_optional=True),
        *samplings,
        Part(
            saved.YAIDA,
            _yaida,
            needs=("train_on", "minibatches"),
            after=(saved.MODES,),
            is_optional=True,
        ),
        Part(
            saved.LYAPUNOV,
            _lyapunov,
            needs=("train_on", "minibatches"),
            after=(saved.MODES,),
            is_optional=True,
        ),
        Part(saved.GROWTH, _growth, needs=("epochs",), after=(saved.basis_flatness("hessian"),), is_optional=True),
        Part(saved.SENSITIVITY, _sensitivity, uses=("epochs",)),
    )


CONTROLS = Stage("controls", "Controls", _parts)
