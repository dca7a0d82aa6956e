"""The fifth stage: other directions, surrogates, one window corrected, and thermal equilibrium."""

from __future__ import annotations

import functools

from landscope.directions.directions import Directions
from landscope.directions.gradient_noise_eigenvectors import gradient_noise_eigenvectors
from landscope.directions.hessian_eigenvectors import hessian_eigenvectors
from landscope.directions.random_directions import random_directions
from landscope.landscape import Flatness
from landscope.law.exponents import Exponents, fit_exponents
from landscope.law.sensitivity import Sensitivity, measure_sensitivity
from landscope.law.window_growth import Growth, measure_growth
from landscope.noise.mode_statistics import mode_statistics
from landscope.study import saved
from landscope.study.analysis import Analysis
from landscope.study.flatness_along import flatness_along, measured_exponents
from landscope.study.parts import Need, Part, Stage
from landscope.study.stages.continued import fitted_flatness, fitted_modes
from landscope.study.stages.equilibrium import EQUILIBRIUM_ROW, equilibrium_parts
from landscope.study.stages.one_window import ONE_WINDOW_ROWS, one_window_parts
from landscope.study.stages.smaller_ratio import SMALLER_RATIO
from landscope.surrogates.registry import SURROGATES, make_surrogate
from landscope.threads import one_thread
from landscope.trajectory import Trajectory

__all__ = ["CONTROLS", "ROWS"]

BASES = {
    "hessian": "Hessian eigenvectors",
    "gradient-noise": "gradient-noise eigenvectors",
    "random": "random directions",
}
_NEEDS_OF_BASES: dict[str, tuple[Need, ...]] = {"hessian": ("hessian",), "gradient-noise": ("minibatches",)}
_SURROGATES = {name: f"surrogate: {null.title}" for name, null in SURROGATES.items() if name != "shuffled"}
"""The stage of the law makes the shuffled ones."""
ROWS = {
    **ONE_WINDOW_ROWS,
    "hessian": f"{BASES['hessian']}, window",
    "hessian-fresh": f"{BASES['hessian']}, fresh data",
    "curvature": "eigenvectors of the curvature, in its order, window",
    "curvature-fresh": "eigenvectors of the curvature, in its order, fresh data",
    "gradient-noise": f"{BASES['gradient-noise']}, window",
    "random": f"{BASES['random']}, window",
    **_SURROGATES,
    "langevin": EQUILIBRIUM_ROW,
}
"""Rows of the table of exponents that this stage adds, by the name of their result."""


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
    return flatness_along(analysis, analysis.load(saved.basis(key)).directions.to(analysis.risk.w0))


def _along(name: str, basis: Directions, widths: Flatness, trajectory: Trajectory, analysis: Analysis) -> Exponents:
    """Exponents along directions that variance did not choose: all of them count."""
    statistics = mode_statistics(basis, trajectory)
    fitted = (1, len(widths.width))
    return fit_exponents(name, statistics, widths, fitted, spectrum_ranks=analysis.spectrum_ranks)


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
    return measured_exponents(ROWS[key], analysis, made, fit_modes=fitted_modes(analysis))


def _growth(analysis: Analysis) -> Growth:
    """Variance against the length of the window, along directions that it did not choose."""
    basis, widths = analysis.load(saved.basis("hessian")), analysis.load(saved.basis_flatness("hessian"))
    return measure_growth(analysis.recorded, basis, widths, analysis.rows_per_epoch or 1)


def _sensitivity(analysis: Analysis) -> Sensitivity:
    """The in-sample exponents under other choices."""
    return measure_sensitivity(
        analysis.risk, analysis.risk.w0, analysis.window, analysis.recorded, analysis.load(saved.MODES),
        fitted_flatness(analysis), analysis.load(saved.SMALLER_FLATNESS),
        analysis.load_if_there(saved.FRESH),
        analysis.nulls,
        fit_modes=fitted_modes(analysis), rows_per_epoch=analysis.rows_per_epoch, rtol=analysis.settings.rtol,
    )  # fmt: skip


def _parts(analysis: Analysis) -> tuple[Part, ...]:  # noqa: ARG001 - stages share a form
    bases = []
    for key in BASES:
        needs = _NEEDS_OF_BASES.get(key, ())
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
        for key in ("hessian", "hessian-fresh", "curvature", "curvature-fresh", "gradient-noise", "random")
    ]  # fmt: skip
    surrogates = [
        Part(
            saved.exponents(key), functools.partial(_surrogate_row, key),
            needs=("epochs",) if SURROGATES[key].needs_epochs else (), is_optional=True, draw=f"surrogate-{key}",
        )
        for key in _SURROGATES
    ]  # fmt: skip
    return (
        *one_window_parts(),
        *bases,
        *rows,
        *surrogates,
        *equilibrium_parts(),
        Part(saved.GROWTH, _growth, needs=("epochs",), after=(saved.basis_flatness("hessian"),), is_optional=True),
        SMALLER_RATIO,
        Part(saved.SENSITIVITY, _sensitivity, needs=("even_rows",), uses=("epochs",)),
    )


CONTROLS = Stage("controls", "Controls", _parts)
