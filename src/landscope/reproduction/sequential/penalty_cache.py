"""Penalties of one finished task, each made once, and what they took."""

from __future__ import annotations

import time

from landscope.memory.methods import METHODS, with_strength
from landscope.memory.snapshot import FinishedTask
from landscope.protocols import Penalty

__all__ = ["TimedPenalties"]


class TimedPenalties:
    """The penalties of a finished task; the same at another strength is made once.

    Args:
        task: The task.
    """

    def __init__(self, task: FinishedTask) -> None:
        self.task = task
        self._built: dict[tuple[str, int], tuple[Penalty, float]] = {}

    def __call__(self, method: str, strength: float, n_modes: int) -> tuple[Penalty, float]:
        """A penalty, and the seconds to make it alone, with the modes and the flatness that several share.

        Args:
            method: A key of :data:`METHODS`.
            strength: lambda.
            n_modes: Directions it holds, or weights.
        """
        key = (method, n_modes)
        if key not in self._built:
            self._measure(method, n_modes)
            begun = time.perf_counter()
            penalty = METHODS[method].build(self.task, n_modes)
            self._built[key] = penalty, time.perf_counter() - begun + self._shared_seconds(method, n_modes)
        penalty, seconds = self._built[key]
        return with_strength(penalty, strength), seconds

    def _measure(self, method: str, n_modes: int) -> None:
        """First what is shared, so that its time is counted once."""
        if METHODS[method].measures:
            _ = self.task.modes
        if METHODS[method].measures == "flatness":
            self.task.flatness(n_modes)

    def _shared_seconds(self, method: str, n_modes: int) -> float:
        measures = METHODS[method].measures
        modes = self.task.modes_seconds if measures else 0.0
        return modes + (self.task.flatness_seconds * n_modes if measures == "flatness" else 0.0)
