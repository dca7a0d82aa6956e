"""Penalties of one finished task, each made once, and the seconds they took."""

from __future__ import annotations

import time

from landscope.memory.snapshot import TaskSnapshot
from landscope.protocols import Penalty
from landscope.reproduction.sequential.ablations import COMPARED

__all__ = ["PenaltyCache"]


class PenaltyCache:
    """The penalties of a finished task; penalties that differ only in strength are made once.

    Args:
        task: The task.
    """

    def __init__(self, task: TaskSnapshot) -> None:
        self.task = task
        self._built: dict[tuple[str, int], tuple[Penalty, float]] = {}

    def __call__(self, method: str, strength: float, n_modes: int) -> tuple[Penalty, float]:
        """A penalty, and the seconds to make it alone: those of modes and flatness that several share count too.

        Args:
            method: A key of :data:`COMPARED`.
            strength: lambda.
            n_modes: Directions, or weights, that it constrains.
        """
        key = (method, n_modes)
        if key not in self._built:
            self._measure(method, n_modes)
            begun = time.perf_counter()
            penalty = COMPARED[method].penalty(self.task, n_modes)
            self._built[key] = penalty, time.perf_counter() - begun + self._shared_seconds(method, n_modes)
        penalty, seconds = self._built[key]
        return penalty.with_strength(strength), seconds

    def _measure(self, method: str, n_modes: int) -> None:
        """Measure first what is shared, so that its time is counted once."""
        if COMPARED[method].needs_recording:
            _ = self.task.modes
        if COMPARED[method].measures_flatness:
            self.task.flatness(n_modes)

    def _shared_seconds(self, method: str, n_modes: int) -> float:
        modes = self.task.modes_seconds if COMPARED[method].needs_recording else 0.0
        return modes + (self.task.flatness_seconds * n_modes if COMPARED[method].measures_flatness else 0.0)
