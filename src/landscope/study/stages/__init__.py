"""The stages of an analysis, in order; a new stage is one module here and one line below."""

from landscope.study.parts import Stage
from landscope.study.stages.controls import CONTROLS
from landscope.study.stages.flatness import FLATNESS
from landscope.study.stages.law import LAW
from landscope.study.stages.modes import MODES
from landscope.study.stages.noise import NOISE

__all__ = ["STAGES"]

STAGES: tuple[Stage, ...] = (MODES, FLATNESS, LAW, NOISE, CONTROLS)
