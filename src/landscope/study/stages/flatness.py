"""The second stage: flatness along the modes, in pieces that survive a kill, and a few loss profiles."""

from __future__ import annotations

from landscope.landscape import Flatness, LossProfiles, ProfileFits, fit_profiles, flatness
from landscope.landscape.drawn_profiles import drawn_profiles, drawn_ranks
from landscope.landscape.flatness import joined
from landscope.study import saved
from landscope.study.analysis import Analysis
from landscope.study.parts import Part, Stage

__all__ = ["FLATNESS"]

_PIECE = 128


def _flatness(analysis: Analysis) -> Flatness:
    directions = analysis.load(saved.MODES).directions
    count = min(analysis.settings.flatness_modes or len(directions), len(directions))
    pieces = []
    for first in range(0, count, _PIECE):
        rows = directions[first : min(first + _PIECE, count)]
        pieces.append(
            analysis.folder.cached(
                f"{saved.FLATNESS_PIECES}{first + 1}",
                Flatness,
                lambda rows=rows, first=first: flatness(
                    analysis.risk,
                    analysis.risk.w0,
                    rows,
                    ratio=analysis.settings.ratio,
                    rtol=analysis.settings.rtol,
                    progress=lambda done, _: analysis.progress(first + done, count),
                ),
            )
        )
        analysis.progress(min(first + _PIECE, count), count)
    return joined(pieces)


def _profiles(analysis: Analysis) -> LossProfiles:
    directions = analysis.load(saved.MODES).directions
    return drawn_profiles(analysis.risk, analysis.risk.w0, directions, analysis.load(saved.FLATNESS))


def _fits(analysis: Analysis) -> ProfileFits:
    return fit_profiles(analysis.load(saved.PROFILES))


_PARTS = (
    Part(saved.FLATNESS, _flatness),
    Part(saved.DRAWN_MODES, lambda analysis: saved.DrawnModes(ranks=drawn_ranks(analysis.load(saved.FLATNESS)))),
    Part(saved.PROFILES, _profiles),
    Part(saved.PROFILE_FITS, _fits),
)

FLATNESS = Stage("flatness", "Flatness", lambda _: _PARTS, saved.FLATNESS_PIECES)
