"""The numbers of a study in one mapping, for JSON and for the page."""

from __future__ import annotations

import math
from typing import Any

from landscope.law.exponents import Exponents
from landscope.law.intervals import prediction_band
from landscope.results import stamp
from landscope.study import saved
from landscope.study.analysis import Analysis
from landscope.study.exponents import EXPONENTS
from landscope.study.minibatch_order import order_of_the_process

__all__ = ["summary_of"]

_OF_THE_FIT = (
    "prefactor", "residual", "rank_correlation", "mode_range", "flatness_range", "n_used", "n_censored", "n_still",
)  # fmt: skip


def summary_of(analysis: Analysis) -> dict[str, Any]:
    """The numbers of the stages modes, flatness and law.

    Raises:
        StorageError: If one of these stages is missing, or a result is damaged.
    """
    spectrum, widths = analysis.load(saved.SPECTRUM), analysis.load(saved.FLATNESS)
    own = analysis.load(saved.IN_SAMPLE)
    fits = analysis.load(saved.PROFILE_FITS)
    nulls = analysis.nulls
    window, fresh = analysis.window, analysis.windows.fresh
    return {
        "settings": analysis.settings.model_dump(mode="json"),
        "provenance": stamp(),
        "parameters": list(analysis.space.names),
        "weights": spectrum.dim,
        "window": [int(window.steps[0]), int(window.steps[-1])],
        "fresh": None if fresh is None else [int(fresh.steps[0]), int(fresh.steps[-1])],
        "window_rows": spectrum.n_steps,
        "caveats": analysis.caveats,
        "optimizer": analysis.facts.optimizer,
        "learning_rate": analysis.learning_rate,
        "momentum": analysis.facts.momentum,
        "batch_size": analysis.batch_size,
        "steps_per_epoch": analysis.steps_per_epoch,
        "loss_at_w0": widths.loss0,
        **_errors_at_w0(analysis),
        **_exponents(analysis, own, nulls),
        **_without_end(analysis),
        "spectrum_ranks": spectrum.spectrum_ranks,
        "modes_for_90_percent": spectrum.modes_for_90_percent,
        "modes_for_90_percent_null": [null.modes_for_90_percent for null in nulls],
        "modes_for_90_percent_null_is_bound": [null.modes_for_90_percent_is_bound for null in nulls],
        "first_mode_share": float(spectrum.variance[0] / max(spectrum.total_variance, 1e-300)),
        "alignment": spectrum.alignment,
        "cosine_content": [float(content) for content in spectrum.cosine_content[:4]],
        "drift_share": float(spectrum.drift_share[0]),
        "inverse_gaussian_residual_ratio": float((fits.log_residual / fits.quadratic_residual).median()),
        "n_censored_all": int((~widths.bracketed).sum()),
        **{name: getattr(own, name) for name in _OF_THE_FIT},
    }


def _exponents(analysis: Analysis, own: Exponents, nulls: list[Exponents]) -> dict[str, Any]:
    fresh = analysis.load_if_there(saved.FRESH)
    found: dict[str, Any] = {}
    for key in EXPONENTS:
        values, made = ([float(getattr(row, key)) for row in rows] for rows in (nulls, analysis.processes))
        found |= {
            key: getattr(own, key),
            f"{key}_interval": getattr(own, f"{key}_interval"),
            f"{key}_fresh": math.nan if fresh is None else getattr(fresh, key),
            f"{key}_fresh_interval": (math.nan, math.nan) if fresh is None else getattr(fresh, f"{key}_interval"),
            f"{key}_null": values,
            f"{key}_null_band": prediction_band(values),
            f"{key}_process": made,
            f"{key}_process_band": prediction_band(made),
        }
    return found


def _without_end(analysis: Analysis) -> dict[str, Any]:
    """Exponents of the finite-window process, psi along the curvature, and both limits; NaN where not measured."""
    limit, of_run = analysis.load_if_there(saved.WINDOW_LIMIT), analysis.load_if_there(saved.RUN_LIMIT)
    return {
        "psi_process_fresh": [row.psi for row in analysis.processes_fresh],
        "rate_changed": bool(analysis.rate_caveat),
        "limit_directions": limit.name if limit else "",
        "limit_order": order_of_the_process(limit, analysis) if limit else "",
        "psi_along_curvature": limit.psi if limit else math.nan,
        "psi_along_curvature_interval": limit.psi_interval if limit else (math.nan, math.nan),
        "psi_along_curvature_expected": limit.psi_predicted if limit else math.nan,
        "psi_infinity_of_process": limit.psi_infinity if limit else math.nan,
        "psi_infinity_of_process_interval": limit.psi_infinity_interval if limit else (math.nan, math.nan),
        "psi_infinity_of_process_in_words": limit.psi_infinity_in_words if limit else "",
        "psi_infinity_of_run": of_run.psi_infinity if of_run else math.nan,
        "psi_infinity_of_run_interval": of_run.psi_infinity_interval if of_run else (math.nan, math.nan),
    }


def _errors_at_w0(analysis: Analysis) -> dict[str, float | bool | None]:
    history = analysis.history
    point = history.at(analysis.windows.step) if history is not None else None
    found: dict[str, float | bool | None] = {"exploration_reached": None}
    for name in ("train_error", "test_error"):
        known = history is not None and point is not None
        found[f"{name}_at_w0"] = float(getattr(history, name)[point]) if known else math.nan
    if history is not None:
        found["exploration_reached"] = history.zero_error_before(int(analysis.window.steps[0]))
    return found
