"""The latest weights of a task, from all its trainings."""

from __future__ import annotations

import contextlib

import torch
from torch import Tensor, nn

from landscope.errors import InputError, NonFiniteError
from landscope.parameters import ParameterSpace
from landscope.recorder import TrajectoryRecorder
from landscope.trajectory import Trajectory

__all__ = ["TaskRows", "concatenated"]


class TaskRows:
    """Records the latest weights of the current task; a task may have several trainings.

    Args:
        space: Selected weights.
        window: Number of rows to keep.
        every: Number of steps between two recorded rows.
    """

    def __init__(self, space: ParameterSpace, window: int, every: int) -> None:
        self._space, self._window, self._every = space, window, every
        self._kept: Trajectory | None = None
        self._step = 0
        self._recorder: TrajectoryRecorder | None = None

    @property
    def step(self) -> int:
        """Number of the last recorded step."""
        return self._step if self._recorder is None else self._recorder.step

    def latest(self) -> Trajectory | None:
        """The latest rows of the task, also in the middle of a training; None before its first."""
        if self._recorder is None or self._recorder.step // self._every == self._step // self._every:
            return self._kept
        new = self._recorder.trajectory()
        return new if self._kept is None else concatenated(self._kept, new, self._window)

    def load(self, rows: Trajectory | None, step: int) -> None:
        """Continue after rows that were stored."""
        self._kept, self._step = rows, step

    def end_task(self) -> None:
        """Forget the rows of a task that is finished."""
        self._kept = None

    def record(self, stack: contextlib.ExitStack, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        """Record the steps of an optimiser until the stack is closed; then keep the rows, if it took a step."""
        self._recorder = TrajectoryRecorder(
            model, optimizer, self._space, every=self._every, last=self._window, first_step=self._step + 1
        ).__enter__()
        stack.push(self._close)
        stack.push(self._keep)

    def _close(self, kind: type[BaseException] | None, *_: object) -> None:
        """Close the recorder without its warning of a missing step, which the memory gives already."""
        recorder, self._recorder = self._recorder, None
        assert recorder is not None  # noqa: S101 - set by record()
        try:
            recorder.close()
        except NonFiniteError:
            if kind is None:
                raise

    def _keep(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            self._kept = self.latest()
        except NonFiniteError:
            with contextlib.suppress(InputError):  # no finite step was recorded
                self._kept = self.latest()
            if kind is None:  # an exception of the user's loop comes first
                raise
        finally:
            assert self._recorder is not None  # noqa: S101 - set by record()
            self._step = self._recorder.step


def concatenated(first: Trajectory, second: Trajectory, last: int) -> Trajectory:
    """The last rows of both trajectories, one after the other."""

    def latest(name: str) -> Tensor:
        return torch.cat([getattr(first, name), getattr(second, name)])[
            -last:
        ].clone()  # a copy: a view would keep all rows

    return Trajectory.of(
        latest("weights"), steps=latest("steps"), learning_rate=latest("learning_rate"), loss=latest("loss"),
        space=second.space,
    )  # fmt: skip
