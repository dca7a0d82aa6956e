"""landscope records a training run and measures the loss landscape along its directions.

The few names below are the most used; everything else is found by module, for example
``landscope.noise.velocity_statistics``. Names and modules are loaded when first used, so that ``import landscope`` is
quick.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from landscope._version import __version__

_HOMES = {
    "ParameterSpace": "parameters",
    "EmpiricalRisk": "risk.empirical",
    "NegativeLogLikelihood": "risk.answers",
    "TrajectoryRecorder": "recorder",
    "Trajectory": "trajectory",
    "open_trajectory": "trajectory",
    "Study": "study.study",
    "Monitor": "monitoring.monitor",
    "TaskMemory": "memory.task_memory",
    "keep": "memory.keep",
    "ProximalSteps": "penalties.proximal",
    "principal_modes": "directions.principal",
    "flatness": "landscape.flatness",
    "loss_plane": "landscape.plane",
    "loss_profiles": "landscape.profile",
    "variance_flatness": "law.exponents",
    "save": "storage.archive",
    "load": "storage.archive",
}
_MODULES = (
    "directions", "landscape", "noise", "surrogates", "law", "memory", "monitoring", "penalties", "plots", "study",
    "synthetic",
)  # fmt: skip

__all__ = [*_HOMES, *_MODULES]

if TYPE_CHECKING:
    from landscope import (
        directions,
        landscape,
        law,
        memory,
        monitoring,
        noise,
        penalties,
        plots,
        study,
        surrogates,
        synthetic,
    )  # fmt: skip
    from landscope.directions.principal import principal_modes
    from landscope.landscape.flatness import flatness
    from landscope.landscape.plane import loss_plane
    from landscope.landscape.profile import loss_profiles
    from landscope.law.exponents import variance_flatness
    from landscope.memory.keep import keep
    from landscope.memory.task_memory import TaskMemory
    from landscope.monitoring.monitor import Monitor
    from landscope.parameters import ParameterSpace
    from landscope.penalties.proximal import ProximalSteps
    from landscope.recorder import TrajectoryRecorder
    from landscope.risk.answers import NegativeLogLikelihood
    from landscope.risk.empirical import EmpiricalRisk
    from landscope.storage.archive import load, save
    from landscope.study.study import Study
    from landscope.trajectory import Trajectory, open_trajectory


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"landscope.{_HOMES[name]}"), name)
    if name in _MODULES:
        return importlib.import_module(f"landscope.{name}")
    raise AttributeError(f"module 'landscope' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
