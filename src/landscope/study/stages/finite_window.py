"""Parts of the law: the finite-window process as the null of every exponent, and psi in a window without end."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable

import torch
from torch import Tensor

from landscope.directions.directions import Directions
from landscope.directions.hessian_eigenvectors import leading_eigenvectors
from landscope.directions.principal import principal_modes
from landscope.landscape import Flatness
from landscope.law.exponents import Exponents, ranks_to_measure, variance_flatness
from landscope.law.window_limit import WindowLimit, window_limit
from landscope.study import saved
from landscope.study.analysis import Analysis
from landscope.study.curvature_matrix import curvature_matrix
from landscope.study.flatness_along import flatness_along
from landscope.study.minibatch_order import order_shown
from landscope.study.parts import Part
from landscope.study.relaxation import Relaxation, is_adaptive, relaxation_of
from landscope.surrogates.finite_window import finite_window_process, rest_curvature
from landscope.threads import one_thread
from landscope.trajectory import Trajectory

__all__ = ["PROCESS", "PROCESS_FRESH", "finite_window_parts"]

PROCESS = "finite-window process"
PROCESS_FRESH = "finite-window process, its next window"
_MEASURED_MODES = 200
"""Log-spaced modes of the process whose flatness is measured: each stands for its neighbours."""


def _curvature(analysis: Analysis) -> Directions:
    name, product = curvature_matrix(analysis.risk)
    return _eigenvectors(name, product, analysis)


def _relaxation_basis(analysis: Analysis) -> Directions:
    """Eigenvectors in the coordinates in which the optimiser takes plain steps, which are not the weights."""
    relaxation = relaxation_of(analysis)
    return _eigenvectors(relaxation.name, relaxation.product, analysis)


def _eigenvectors(name: str, product: Callable[[Tensor], Tensor], analysis: Analysis) -> Directions:
    count = min(analysis.settings.curvature_modes, analysis.window.dim - 1)
    with one_thread():  # the bits must not depend on the number of threads
        return leading_eigenvectors(
            product, analysis.risk.w0, count, name=f"{name} eigenvectors", seed=analysis.settings.seed,
            progress=analysis.progress,
        )  # fmt: skip


def _flatness(key: str, analysis: Analysis) -> Flatness:
    directions = analysis.load(saved.basis(key)).directions
    scale = relaxation_of(analysis).scale if key == "relaxation" else None
    # A step along u in the coordinates y = s w is one along u/s in the weights, as long as u/s.
    moved = directions if scale is None else directions / scale
    lengths = torch.linalg.vector_norm(moved, dim=1)
    found = flatness_along(analysis, (moved / lengths[:, None]).to(analysis.risk.w0))
    if scale is None:
        return found
    names = ("left", "right", "width", "max_displacement")
    return dataclasses.replace(found, **{name: getattr(found, name) / lengths for name in names})


def _relaxing(analysis: Analysis) -> tuple[Relaxation, Directions]:
    """The relaxation of the weights, and the eigenvectors of the curvature that pulls them, with weight decay."""
    relaxation = relaxation_of(analysis)
    if relaxation.scale is not None:
        return relaxation, analysis.load(saved.RELAXATION)
    found = analysis.load(saved.CURVATURE)
    return relaxation, dataclasses.replace(found, values=found.values + relaxation.decay)


def _limit(analysis: Analysis) -> WindowLimit:
    window, (relaxation, curvature) = analysis.window, _relaxing(analysis)
    key, own = "curvature" if relaxation.scale is None else "relaxation", relaxation.scaled(window)
    with one_thread():
        order = order_shown(own, curvature, analysis)
    limit = window_limit(
        curvature, own, analysis.load(saved.basis_flatness(key)),
        learning_rate=window.learning_rate if analysis.has_every_rate else analysis.learning_rate,
        rule=relaxation.rule, steps_per_epoch=order.steps_per_epoch,
    )  # fmt: skip
    return dataclasses.replace(limit, order_unknown=order.unknown)


def _process(number: int, analysis: Analysis) -> tuple[Trajectory, Trajectory]:
    """A window of the process and the next one."""
    window, (relaxation, curvature) = analysis.window, _relaxing(analysis)
    own, shared = relaxation.scaled(window), analysis.shared
    with one_thread():
        if "finite-window" not in shared:  # the same for all draws
            rest = rest_curvature(own, curvature, relaxation.product, seed=analysis.settings.seed)
            shared["finite-window"] = rest, order_shown(own, curvature, analysis).steps_per_epoch
        rest, epoch = shared["finite-window"]
        both = finite_window_process(
            own, curvature, rest=rest, steps_per_epoch=epoch, rule=relaxation.rule, n_windows=2,
            learning_rate=None if analysis.has_every_rate else analysis.learning_rate,
            seed=analysis.settings.seed * 1000 + 2 * number,  # the process draws with this seed and the next one
        )  # fmt: skip
    both = relaxation.back(both, window)
    return both.part(slice(len(window))), both.part(slice(len(window), None))


def _rows(number: int, analysis: Analysis) -> tuple[Exponents, Exponents]:
    """The process along its own modes, in its window and in the next one; measured once for both."""
    key = f"finite-window-{number}"
    if key not in analysis.shared:
        settings, (made, following) = analysis.settings, _process(number, analysis)
        fitted = settings.fit_modes[0], min(settings.fit_modes[1], len(analysis.load(saved.FLATNESS).width))
        count = min(max(fitted[1], analysis.spectrum_ranks[1]), len(made) - 1, made.dim)
        modes = principal_modes(made, count)
        ranks = ranks_to_measure(count, fitted, _MEASURED_MODES)
        widths = flatness_along(analysis, modes.directions[ranks - 1].to(analysis.risk.w0))
        own, later = (
            variance_flatness(
                modes, part, widths, fitted, name=name, ranks=ranks, spectrum_ranks=analysis.spectrum_ranks
            )
            for name, part in ((PROCESS, made), (PROCESS_FRESH, following))
        )
        analysis.shared[key] = own, later
    return analysis.shared[key]


def _row(number: int, which: int, analysis: Analysis) -> Exponents:
    return _rows(number, analysis)[which]


def finite_window_parts(analysis: Analysis) -> tuple[Part, ...]:
    """The eigenvectors of the curvature, psi_infinity along them, and the rows of every draw of the process."""
    count, adaptive = analysis.settings.n_processes, is_adaptive(analysis.facts)
    if not count:
        return ()
    relaxing = Part(saved.RELAXATION, _relaxation_basis, needs=("learning_rate", "curvature"), is_optional=True)
    keys = ("curvature", "relaxation") if adaptive else ("curvature",)
    basis = saved.basis(keys[-1])
    draws = [
        Part(result(number), functools.partial(_row, number, which), after=(basis,), uses=("epochs",), is_optional=True,
             draw=f"finite-window-{number}")
        for number in range(count)
        for which, result in enumerate((saved.process, saved.process_fresh))
    ]  # fmt: skip
    return (
        Part(saved.CURVATURE, _curvature, needs=("learning_rate", "curvature"), is_optional=True),
        *((relaxing,) if adaptive else ()),
        *(
            Part(
                saved.basis_flatness(key), functools.partial(_flatness, key), after=(saved.basis(key),),
                is_optional=True,
            )
            for key in keys
        ),
        Part(saved.WINDOW_LIMIT, _limit, after=(saved.basis_flatness(keys[-1]),), uses=("epochs",),
             is_optional=True),
        *draws,
    )  # fmt: skip
