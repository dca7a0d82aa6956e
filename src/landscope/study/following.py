"""The recording of a study in the processes that leave it to another one."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

import torch
from torch import Tensor, nn

from landscope._checks import check_hooked
from landscope.errors import InputError
from landscope.optimizer_steps import ends_step
from landscope.processes import Turn
from landscope.sharded import has_parts
from landscope.study.recording import StudyRecorder

__all__ = ["StudyFollower", "check_is_whole", "recorder_in_turn"]


def check_is_whole(model: nn.Module) -> None:
    """Raise if processes hold parts of a model: the whole models of a study would be parts."""
    if has_parts(model):
        raise InputError(
            expected="a model that each process holds whole", got="one that is sharded",
            hint="Record with TrajectoryRecorder, and give its rows to a study in one process by use_trajectory().",
        )  # fmt: skip


def recorder_in_turn(
    path: Path, optimizer: torch.optim.Optimizer, first_step: int | None, make: Callable[[Turn], StudyRecorder]
) -> StudyRecorder | StudyFollower:
    """The recorder of a study; of several processes that record it the first one makes it, and the others follow.

    Args:
        path: The folder of the study.
        optimizer: The optimiser.
        first_step: Number of the first step taken while recording.
        make: Makes the recorder; the other processes wait for the end of the turn that it is given.
    """
    begin = Turn.of(f"the recording of {path.absolute()}")
    turn = dataclasses.replace(begin, name=f"{begin.name} to its end")
    with begin.taken():
        return make(turn) if begin.is_own else StudyFollower(optimizer, first_step, turn)


class StudyFollower:
    """Stands for the recording that another process of the training writes; made by :meth:`landscope.Study.record`.

    Its ``with`` ends when that process has written everything.

    Args:
        optimizer: The optimiser.
        first_step: Number of the first step taken while recording.
        turn: The recording.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, first_step: int | None, turn: Turn) -> None:
        self._optimizer, self._turn = check_hooked(optimizer), turn
        self.step = 0 if first_step is None else first_step - 1
        self._entered = contextlib.ExitStack()
        self.is_recording = False

    def __enter__(self) -> StudyFollower:
        self._entered.enter_context(self._turn.taken())
        self._entered.callback(self._optimizer.register_step_post_hook(self._after_step).remove)
        self.is_recording = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.is_recording = False
        self._entered.__exit__(kind, error, traceback)

    def _after_step(self, *_: object) -> None:
        self.step += ends_step(self._optimizer)

    def note_loss(self, loss: Tensor | float) -> None:
        """The other process notes the losses of its own minibatches."""

    def note_minibatches(self, batch_size: int | None, steps_per_epoch: int | None) -> None:
        """The other process notes them."""

    def flush(self) -> None:
        """The other process writes its rows."""

    def close(self) -> None:
        """End as the ``with`` does."""
        self.__exit__(None, None, None)
