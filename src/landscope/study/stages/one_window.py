"""Parts of the controls: the next window predicted from this one, and its exponents."""

from __future__ import annotations

import dataclasses

from landscope.errors import InputError
from landscope.landscape import Flatness
from landscope.law.exponents import Exponents, fit_exponents
from landscope.law.one_window import OneWindow, one_window_correction
from landscope.study import saved
from landscope.study.analysis import Analysis
from landscope.study.parts import Part

__all__ = ["ONE_WINDOW_ROWS", "one_window_parts"]

ONE_WINDOW_ROWS = {
    "one-window": "one window, corrected",
    "one-window-separable": "one window, corrected, separable model",
}
"""Rows of the table of exponents, by the name of their result."""


def _correction(analysis: Analysis) -> OneWindow:
    settings = analysis.settings
    return one_window_correction(
        analysis.load(saved.MODES), analysis.window, max(settings.fit_modes[1], analysis.spectrum_ranks[1]),
        seed=settings.seed, progress=analysis.progress,
    )  # fmt: skip


def _fitted(key: str, found: OneWindow, analysis: Analysis) -> Exponents:
    settings, widths = analysis.settings, analysis.load(saved.FLATNESS)
    few = {name: getattr(widths, name)[: len(found.corrected)] for name in Flatness.dims}
    return fit_exponents(
        ONE_WINDOW_ROWS[key], found.statistics(analysis.load(saved.STATISTICS)), dataclasses.replace(widths, **few),
        settings.fit_modes, spectrum_ranks=analysis.spectrum_ranks,
    )  # fmt: skip


def _row(analysis: Analysis) -> Exponents:
    return _fitted("one-window", analysis.load(saved.ONE_WINDOW), analysis)


def _separable_row(analysis: Analysis) -> Exponents:
    found = analysis.load(saved.ONE_WINDOW)
    if found.separable_reason:
        raise InputError(
            expected="a window at rest in which all modes relax alike, for the separable model of random-matrix theory",
            got=found.separable_reason,
            hint=f"The row {ONE_WINDOW_ROWS['one-window']!r} needs no such model.",
        )
    return _fitted("one-window-separable", found.with_separable_variances(), analysis)


def one_window_parts() -> tuple[Part, ...]:
    """The corrected variances, and two rows of exponents: without and with the separable model."""
    return (
        Part(saved.ONE_WINDOW, _correction, is_optional=True),
        Part(saved.exponents("one-window"), _row, after=(saved.ONE_WINDOW,), is_optional=True),
        Part(saved.exponents("one-window-separable"), _separable_row, after=(saved.ONE_WINDOW,), is_optional=True),
    )
