"""A folder for one training run: recording, results, resumable stages, figures, page.

The names below are loaded when first used: the command line reads the settings without loading torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from landscope.study.exponents import ExponentTable
    from landscope.study.recording import StudyRecorder
    from landscope.study.settings import StudySettings
    from landscope.study.stage_table import StageTable
    from landscope.study.study import Study
    from landscope.study.train_on import TrainOn

_HOMES = {
    "Study": "study",
    "StudyRecorder": "recording",
    "StudySettings": "settings",
    "ExponentTable": "exponents",
    "StageTable": "stage_table",
    "TrainOn": "train_on",
}

__all__ = ["ExponentTable", "StageTable", "Study", "StudyRecorder", "StudySettings", "TrainOn"]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"landscope.study.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'landscope.study' has no attribute {name!r}")
