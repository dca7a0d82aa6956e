"""The latest weights of a task, from all its trainings."""

from __future__ import annotations

import contextlib

import torch
from torch import Tensor, nn

from landscope.errors import InputError, NonFiniteError
from landscope.parameters import ParameterSpace
from landscope.penalties.warnings import warn
from landscope.recorder import TrajectoryRecorder
from landscope.trajectory import Trajectory

__all__ = ["TaskRows", "concatenated", "rows_of_one_path"]


class TaskRows:
    """Records the latest weights of the current task; a task may have several trainings.

    Args:
        space: Selected weights.
        window: Number of rows to keep.
        every: Number of steps between two recorded rows.
    """

    def __init__(self, space: ParameterSpace, window: int, every: int) -> None:
        self._space, self.window, self._every = space, window, every
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
        return new if self._kept is None else concatenated(self._kept, new, self.window)

    def load(self, rows: Trajectory | None, step: int) -> None:
        """Continue after rows that were stored."""
        self._kept, self._step = rows, step

    def end_task(self) -> None:
        """Forget the rows of a task that is finished."""
        self._kept = None

    def record(self, stack: contextlib.ExitStack, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        """Record the steps of an optimiser until the stack is closed; then keep the rows, if it took a step."""
        self._kept = rows_of_one_path(self._kept, self._space.flatten(model), self._step)
        self._recorder = TrajectoryRecorder(
            model, optimizer, self._space, every=self._every, last=self.window, first_step=self._step + 1
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


def rows_of_one_path(rows: Trajectory | None, w: Tensor, step: int) -> Trajectory | None:
    """The rows of earlier trainings of a task, if a training that begins with weights ``w`` goes on from them.

    Where the weights moved in between, the jump would count as a direction of the training: the rows are left out.

    Args:
        rows: The rows so far.
        w: Selected weights of the model, ``[N]``.
        step: Number of the last step; the weights are not compared where it has no row.

    Warns:
        UserWarning: If the rows are left out.
    """
    if rows is None or int(rows.steps[-1]) != step or torch.equal(rows.row(-1), w.to(rows.row(-1))):
        return rows
    warn(
        f"the weights moved since the last `with memory.training(...)` block of this task, at step {step}, so the rows "
        "recorded until then are left out; train the task inside such blocks only"
    )
    return None


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
