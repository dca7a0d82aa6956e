"""Parts of the controls: the finite-window process as a null, and psi in a window without end."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import torch
from torch import Tensor

from landscope.directions.directions import Directions
from landscope.directions.hessian_eigenvectors import leading_eigenvectors
from landscope.directions.principal import principal_modes
from landscope.errors import InputError
from landscope.landscape import Flatness, flatness
from landscope.law.exponents import Exponents, ranks_to_measure, variance_flatness
from landscope.law.window_limit import WindowLimit, window_limit
from landscope.risk import EmpiricalRisk
from landscope.study import saved
from landscope.study.analysis import Analysis
from landscope.study.parts import Part
from landscope.surrogates.finite_window import epoch_noise_share, finite_window_process, rest_curvature
from landscope.threads import one_thread
from landscope.trajectory import Trajectory

__all__ = ["PROCESS", "PROCESS_FRESH", "curvature_matrix", "finite_window_parts", "reshuffled_epochs"]

PROCESS = "finite-window process"
PROCESS_FRESH = "finite-window process, its next window"
_RESHUFFLED_BELOW = 0.5
"""Share of independent noise over an epoch below which minibatches count as drawn without replacement."""
_MEASURED_MODES = 60
"""Log-spaced modes of the process whose flatness is measured: each stands for its neighbours."""


def curvature_matrix(risk: EmpiricalRisk) -> tuple[str, Callable[[Tensor], Tensor]]:
    """Name and products of the Gauss-Newton matrix at w0, or of the Hessian where the model is no classifier."""
    try:
        fisher = risk.fisher_information()
        fisher.product(risk.w0, torch.zeros_like(risk.w0))
    except InputError:
        return "Hessian", lambda vector: risk.hessian_vector_product(risk.w0, vector)
    return "Gauss-Newton", lambda vector: fisher.product(risk.w0, vector)


def _curvature(analysis: Analysis) -> Directions:
    count = min(analysis.settings.curvature_modes, analysis.window.dim - 1)
    with one_thread():  # the bits must not depend on the number of threads
        name, product = curvature_matrix(analysis.risk)
        return leading_eigenvectors(
            product, analysis.risk.w0, count, name=f"{name} eigenvectors", seed=analysis.settings.seed,
            progress=analysis.progress,
        )  # fmt: skip


def _flatness(analysis: Analysis) -> Flatness:
    settings = analysis.settings
    return flatness(
        analysis.risk, analysis.risk.w0, analysis.load(saved.CURVATURE).directions.to(analysis.risk.w0),
        ratio=settings.ratio, rtol=settings.rtol, progress=analysis.progress,
    )  # fmt: skip


def _relaxing(analysis: Analysis) -> Directions:
    """The curvature that pulls the weights: that of the loss and of weight decay."""
    facts, found = analysis.facts, analysis.load(saved.CURVATURE)
    unknown = facts.dampening or facts.nesterov or facts.maximize or facts.groups_differ
    if facts.optimizer != "SGD" or unknown:
        raise InputError(
            expected="SGD with one learning rate, with or without momentum and weight decay",
            got=facts.optimizer if facts.optimizer != "SGD" else "SGD with other options",
            hint="The relaxation of other optimisers is not that of the curvature alone.",
        )
    return dataclasses.replace(found, values=found.values + facts.weight_decay)


def _limit(analysis: Analysis) -> WindowLimit:
    return window_limit(
        _relaxing(analysis), analysis.window, analysis.load(saved.basis_flatness("curvature")),
        learning_rate=analysis.learning_rate, momentum=analysis.facts.momentum,
    )  # fmt: skip


def _process(analysis: Analysis) -> tuple[Trajectory, Trajectory]:
    """A window of the process and the next one."""
    window, curvature, seed = analysis.window, _relaxing(analysis), analysis.settings.seed
    risk, known = analysis.risk, not bool(torch.isnan(window.learning_rate).any())
    _, product = curvature_matrix(risk)
    with one_thread():
        rest = rest_curvature(window, curvature, lambda row: product(row.to(risk.w0)).cpu(), seed=seed)
        both = finite_window_process(
            window, curvature, rest=rest + analysis.facts.weight_decay,
            learning_rate=None if known else analysis.learning_rate, momentum=analysis.facts.momentum,
            steps_per_epoch=reshuffled_epochs(analysis, curvature), n_windows=2, seed=seed,
        )  # fmt: skip
    return both.part(slice(len(window))), both.part(slice(len(window), None))


def reshuffled_epochs(analysis: Analysis, curvature: Directions) -> int | None:
    """Minibatches in an epoch where the noise of the run sums to zero over it."""
    count = analysis.steps_per_epoch
    if count is None or count < 2:
        return None
    share = epoch_noise_share(analysis.window, curvature, count)
    return count if share < _RESHUFFLED_BELOW else None


def _rows(analysis: Analysis) -> tuple[Exponents, Exponents]:
    """The process along its own modes, in its window and in the next one; measured once for both."""
    if "finite-window-rows" not in analysis.shared:
        settings, (made, following) = analysis.settings, _process(analysis)
        fitted = settings.fit_modes[0], min(settings.fit_modes[1], len(analysis.load(saved.FLATNESS).width))
        count = min(max(fitted[1], settings.spectrum_ranks[1]), len(made) - 1, made.dim)
        modes = principal_modes(made, count)
        ranks = ranks_to_measure(count, fitted, _MEASURED_MODES)
        widths = flatness(
            analysis.risk, analysis.risk.w0, modes.directions[ranks - 1].to(analysis.risk.w0), ratio=settings.ratio,
            rtol=settings.rtol, progress=analysis.progress,
        )  # fmt: skip
        own, later = (
            variance_flatness(
                modes, part, widths, fitted, name=name, ranks=ranks, spectrum_ranks=settings.spectrum_ranks
            )
            for name, part in ((PROCESS, made), (PROCESS_FRESH, following))
        )
        analysis.shared["finite-window-rows"] = own, later
    return analysis.shared["finite-window-rows"]


def finite_window_parts() -> tuple[Part, ...]:
    """The eigenvectors of the curvature, psi_infinity along them, and the two rows of the process."""
    return (
        Part(saved.CURVATURE, _curvature, needs=("learning_rate",), is_optional=True),
        Part(saved.basis_flatness("curvature"), _flatness, after=(saved.CURVATURE,), is_optional=True),
        Part(saved.WINDOW_LIMIT, _limit, after=(saved.basis_flatness("curvature"),), is_optional=True),
        Part(saved.PROCESS, _own_row, after=(saved.CURVATURE,), uses=("epochs",), is_optional=True),
        Part(saved.PROCESS_FRESH, _next_row, after=(saved.CURVATURE,), uses=("epochs",), is_optional=True),
    )


def _own_row(analysis: Analysis) -> Exponents:
    return _rows(analysis)[0]


def _next_row(analysis: Analysis) -> Exponents:
    return _rows(analysis)[1]
