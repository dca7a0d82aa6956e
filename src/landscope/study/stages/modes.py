"""The first stage: principal modes of the window, and what both windows do along them."""

from __future__ import annotations

from landscope.directions.directions import Directions
from landscope.directions.principal import principal_modes
from landscope.law.spectrum import Spectrum, spectrum
from landscope.noise.mode_statistics import ModeStatistics, mode_statistics
from landscope.study import saved
from landscope.study.analysis import Analysis
from landscope.study.parts import Part, Stage
from landscope.trajectory.rounding import held_by_rounding

__all__ = ["MODES"]


def _modes(analysis: Analysis) -> Directions:
    return principal_modes(analysis.window, progress=analysis.progress)


def _statistics(analysis: Analysis) -> ModeStatistics:
    return mode_statistics(analysis.load(saved.MODES), analysis.window)


def _fresh_statistics(analysis: Analysis) -> ModeStatistics:
    return mode_statistics(analysis.load(saved.MODES), analysis.fresh)


def _spectrum(analysis: Analysis) -> Spectrum:
    return spectrum(
        analysis.load(saved.MODES),
        analysis.window,
        analysis.load(saved.STATISTICS),
        analysis.load_if_there(saved.FRESH_STATISTICS),
        spectrum_ranks=analysis.spectrum_ranks,
    )


_PARTS = (
    Part(saved.MODES, _modes),
    Part(saved.STATISTICS, _statistics),
    Part(saved.FRESH_STATISTICS, _fresh_statistics, needs=("fresh",)),
    Part(saved.SPECTRUM, _spectrum),
    Part(saved.ROUNDING, lambda analysis: held_by_rounding(analysis.window)),
)

MODES = Stage("modes", "Principal modes", lambda _: _PARTS)
