"""The second stage: flatness along the modes, in pieces that survive a kill, and a few loss profiles."""

from __future__ import annotations

from landscope.landscape import Flatness, LossProfiles, ProfileFits, fit_profiles
from landscope.landscape.drawn_profiles import drawn_profiles, drawn_ranks
from landscope.landscape.flatness import joined
from landscope.study import saved
from landscope.study.analysis import Analysis
from landscope.study.flatness_along import flatness_of_pieces
from landscope.study.parts import Part, Stage

__all__ = ["FLATNESS"]

_PIECE = 128


def _flatness(analysis: Analysis) -> Flatness:
    directions = analysis.load(saved.MODES).directions
    count = min(analysis.settings.flatness_modes or len(directions), len(directions))
    pieces = [slice(first, min(first + _PIECE, count)) for first in range(0, count, _PIECE)]
    missing = [piece for piece in pieces if not analysis.folder.fits(_name(piece))]
    found = flatness_of_pieces(analysis, directions[:count], missing)
    for piece, widths in zip(missing, found, strict=True):
        analysis.folder.save(_name(piece), widths)
    return joined([analysis.folder.load(_name(piece), Flatness) for piece in pieces])


def _name(piece: slice) -> str:
    return f"{saved.FLATNESS_PIECES}{piece.start + 1}"


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
