"""Flatness of the fitted modes at a smaller multiple of the loss: a level of 2 where the study reads it at e."""

from __future__ import annotations

import math

from landscope.landscape import Flatness
from landscope.study import saved
from landscope.study.analysis import Analysis
from landscope.study.flatness_along import flatness_along
from landscope.study.parts import Part

__all__ = ["SMALLER_RATIO"]


def _smaller(analysis: Analysis) -> Flatness:
    settings = analysis.settings
    count = min(settings.fit_modes[1], len(analysis.load(saved.FLATNESS).width))
    directions = analysis.load(saved.MODES).directions[:count].to(analysis.risk.w0)
    ratio = 2.0 if settings.ratio == math.e else settings.ratio ** math.log(2)
    return flatness_along(analysis, directions, ratio=ratio)


SMALLER_RATIO = Part(saved.SMALLER_FLATNESS, _smaller, after=(saved.MODES,))
