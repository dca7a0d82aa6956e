"""A trajectory recorder that is active while a training runs, for the callbacks of all frameworks."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from landscope._checks import check_count
from landscope.adapters.session import Training, TrainingSession
from landscope.errors import InputError
from landscope.parameters import ParameterSpace, Selection
from landscope.recorder import TrajectoryRecorder
from landscope.trajectory import Trajectory

__all__ = ["RecorderSession"]


class RecorderSession(TrainingSession):
    """Records while a training runs, and gives access to the recorded rows.

    Args:
        select: Parameters to record, see :meth:`landscope.ParameterSpace.of`.
        path: Folder of the trajectory; by default the trajectory is kept in memory.
        every: Number of steps between two recorded rows.

    Raises:
        InputError: If ``every`` is not a positive integer.
    """

    _begin_call = "train()"
    """The framework's call that begins a training."""

    def __init__(
        self,
        select: Selection | Iterable[Selection] | None = None,
        *,
        path: str | Path | None = None,
        every: int = 1,
    ) -> None:
        self._select = select if select is None or isinstance(select, str | type) else tuple(select)
        self._path = path
        self._every = check_count("every", every, minimum=1)
        self._recorder: TrajectoryRecorder | None = None

    @property
    def space(self) -> ParameterSpace:
        """The recorded parameters."""
        return self._begun().space

    def trajectory(self) -> Trajectory:
        """The rows recorded so far.

        Returns:
            The trajectory, in memory or on disk at ``path``.

        Raises:
            InputError: If no training has begun, or no step was recorded.
        """
        return self._begun().trajectory()

    def _context(self, training: Training) -> contextlib.AbstractContextManager[Any]:
        self._recorder = None
        if not training.is_main_process:
            return contextlib.nullcontext()
        space = ParameterSpace.of(training.model, self._select)
        self._recorder = TrajectoryRecorder(
            training.model,
            training.optimizer_for(space, training.model),
            self._select,
            path=self._path,
            every=self._every,
            first_step=training.steps_taken + 1,
            resume=training.global_step > 0,
        )
        return self._recorder

    def _begun(self) -> TrajectoryRecorder:
        if self._recorder is None:
            raise InputError(
                expected="a training that has begun on this process",
                got="none",
                hint=f"Pass this callback to Trainer(callbacks=[...]) and call {self._begin_call}; only the main "
                "process records.",
            )
        return self._recorder
