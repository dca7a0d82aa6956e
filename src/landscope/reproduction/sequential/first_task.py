"""A first task that is learnt once, and the second task learnt from there as many times as asked."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Sequence
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from landscope.memory.methods.basin import Basin
from landscope.protocols import Penalty
from landscope.reproduction.sequential.baselines.protocol import Memory
from landscope.reproduction.sequential.continual_result import ContinualResult
from landscope.reproduction.sequential.methods import BASELINES, COMPARED, EndSnapshot, HeldPenalty, MethodSettings
from landscope.reproduction.sequential.preparation import unchanged
from landscope.reproduction.sequential.task_data import Task
from landscope.reproduction.sequential.trainer import train_sequentially
from landscope.reproduction.sequential.training import TaskTraining

__all__ = ["FirstTask"]


class FirstTask:
    """Learns the first of two tasks; penalties that differ only in strength are made once.

    Args:
        model: The network; it stays at the end of the first task.
        tasks: Both tasks.
        training: How the first is learnt.
        n_modes: Largest number of its modes to find; all by default.
        ratio: Loss at the edges of its valley over that at the bottom.
        seed: Seed of random directions.
    """

    def __init__(
        self,
        model: nn.Module,
        tasks: Sequence[Task],
        training: TaskTraining,
        n_modes: int | None = None,
        *,
        ratio: float = math.e,
        seed: int = 0,
    ) -> None:
        snapshot = EndSnapshot(model, n_modes, ratio=ratio, seed=seed)
        self.model, self.tasks = model, tasks
        self.result = train_sequentially(model, tasks, MethodSettings("none"), training, memory=snapshot, n_tasks=1)
        self.snapshot, begun = snapshot.task, time.perf_counter()
        self.modes = self.snapshot.modes
        self._modes_seconds, self._width_seconds, self._n_measured = time.perf_counter() - begun, 0.0, 0
        self._penalties: dict[tuple[str, int], tuple[Penalty, float]] = {}

    def widths(self, n_modes: int) -> Float[Tensor, " k"]:
        """Flatness of the first modes."""
        new, begun = n_modes - self._n_measured, time.perf_counter()
        widths = self.snapshot.widths(n_modes)
        if new > 0:
            self._width_seconds, self._n_measured = (time.perf_counter() - begun) / new, n_modes
        return widths

    def learn_second(
        self, method: MethodSettings, count: int, training: TaskTraining, **watching: Any
    ) -> ContinualResult:
        """Learn the second task and go back to the end of the first.

        Args:
            method: A method, or none.
            count: Number of modes, or of weights, that it holds.
            training: How the second task is learnt.
            **watching: What :func:`train_sequentially` measures while it is learnt.

        Returns:
            Errors after both tasks; ``consolidation_seconds`` of the first is the time to make the penalty alone.
        """
        memory, seconds = self._memory(method, count, training)
        (first,) = self.result.rows()
        with unchanged(self.model):
            return train_sequentially(
                self.model, self.tasks, method, training, memory=memory,
                earlier=[dataclasses.replace(first, consolidation_seconds=seconds)], **watching,
            )  # fmt: skip

    def _memory(self, method: MethodSettings, count: int, training: TaskTraining) -> tuple[Memory, float]:
        """The method at the end of the first task, and the seconds to make it."""
        if not _is_made_whole(method):
            penalty, seconds = self._penalty(method, count) if method.method in COMPARED else (None, 0.0)
            return HeldPenalty(self.model, penalty), seconds
        begun, memory = time.perf_counter(), method.memory(self.model, seed=training.seed)
        memory.consolidate(training.criterion, training.measured_on(self.tasks[0].train))
        return memory, time.perf_counter() - begun

    def _penalty(self, method: MethodSettings, count: int) -> tuple[Penalty, float]:
        """The penalty, and the seconds to make it alone: those of modes and flatness that several share count too."""
        compared, key = COMPARED[method.method], (method.method, count)
        if key not in self._penalties:
            shared = self._modes_seconds if compared.method.needs_recording else 0.0
            if compared.measures_flatness:  # first, so that the time is counted once
                shared += len(self.widths(count)) * self._width_seconds
            begun = time.perf_counter()
            penalty = compared.method.penalty(self.snapshot, count)
            self._penalties[key] = penalty, time.perf_counter() - begun + shared
        penalty, seconds = self._penalties[key]
        return penalty.with_strength(method.value), seconds


def _is_made_whole(method: MethodSettings) -> bool:
    """Whether a method is made as a user makes it: no penalty, one with a budget, or one with its own ratio."""
    compared = COMPARED.get(method.method)
    if compared is None:
        return method.method in BASELINES
    return compared.budget is not None or isinstance(compared.method, Basin)
