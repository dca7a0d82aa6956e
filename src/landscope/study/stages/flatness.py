"""The second stage: flatness along the modes, in pieces that survive a kill, a few loss profiles, and a plane."""

from __future__ import annotations

import math

from landscope.errors import InputError
from landscope.landscape import Flatness, LossPlane, LossProfiles, ProfileFits, fit_profiles, loss_plane
from landscope.landscape.drawn_profiles import drawn_profiles, drawn_ranks
from landscope.landscape.flatness import joined
from landscope.study import saved
from landscope.study.analysis import Analysis
from landscope.study.flatness_along import flatness_of_pieces
from landscope.study.parts import Part, Stage

__all__ = ["FLATNESS"]

_PIECE = 128
_SHARE = 0.1
"""Points of the plane over the evaluations of the flatness, which the nulls and the processes take as many times."""
_SIDES = (9, 25)
"""Fewest and most points of the plane along a mode."""


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


def _plane(analysis: Analysis) -> LossPlane:
    """Over modes 1 and 2, as wide as the path of the window."""
    modes = analysis.load(saved.MODES)
    if modes.n_moving < 2:
        raise InputError(
            expected="two modes that move", got=f"{modes.n_moving}", hint="Record more steps, or more weights."
        )
    evaluations = int(analysis.load(saved.FLATNESS).evaluations.sum())
    side = min(max(math.isqrt(int(_SHARE * evaluations)), _SIDES[0]), _SIDES[1])
    return loss_plane(
        analysis.risk, analysis.risk.w0, modes.part([0, 1]), trajectory=analysis.window, n_points=side,
        progress=analysis.progress,
    )  # fmt: skip


_PARTS = (
    Part(saved.FLATNESS, _flatness),
    Part(saved.DRAWN_MODES, lambda analysis: saved.DrawnModes(ranks=drawn_ranks(analysis.load(saved.FLATNESS)))),
    Part(saved.PROFILES, _profiles),
    Part(saved.PROFILE_FITS, _fits),
    Part(saved.PLANE, _plane, is_optional=True),
)

FLATNESS = Stage("flatness", "Flatness", lambda _: _PARTS, saved.FLATNESS_PIECES)
