"""The first stage: principal modes of the window, and what both windows do along them."""

from __future__ import annotations

from landscope.directions.directions import Directions
from landscope.directions.principal import principal_modes
from landscope.law.spectrum import Spectrum, spectrum
from landscope.noise.mode_statistics import ModeStatistics, mode_statistics
from landscope.study.analysis import Analysis
from landscope.study.parts import Part, Stage

__all__ = ["MODES"]


def _modes(analysis: Analysis) -> Directions:
    return principal_modes(analysis.window, progress=analysis.progress)


def _statistics(analysis: Analysis) -> ModeStatistics:
    return mode_statistics(analysis.load("modes", Directions), analysis.window)


def _fresh_statistics(analysis: Analysis) -> ModeStatistics:
    return mode_statistics(analysis.load("modes", Directions), analysis.fresh)


def _spectrum(analysis: Analysis) -> Spectrum:
    return spectrum(
        analysis.load("modes", Directions),
        analysis.window,
        analysis.load("statistics", ModeStatistics),
        analysis.load_if_there("statistics-fresh", ModeStatistics),
        spectrum_ranks=analysis.settings.spectrum_ranks,
    )


_PARTS = (
    Part("modes", Directions, _modes),
    Part("statistics", ModeStatistics, _statistics),
    Part("statistics-fresh", ModeStatistics, _fresh_statistics, needs=("fresh",)),
    Part("spectrum", Spectrum, _spectrum),
)

MODES = Stage("modes", "Principal modes", lambda _: _PARTS)
