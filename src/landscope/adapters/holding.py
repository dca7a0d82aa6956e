"""What the callbacks of all frameworks share: a memory of tasks that is at work while a training runs."""

from __future__ import annotations

import contextlib

import torch
from torch import nn

from landscope._checks import check_kind
from landscope.errors import InputError, LandscopeError
from landscope.memory.task_memory import TaskMemory

__all__ = ["Holding"]


class Holding:
    """Enters ``memory.training(optimizer)`` when a training begins, and leaves it when it ends.

    Args:
        memory: Of the model that is trained, or of a part of it.
    """

    def __init__(self, memory: TaskMemory) -> None:
        self.memory = check_kind("the memory", memory, TaskMemory, hint="Pass ls.TaskMemory(model).")
        self._training: contextlib.AbstractContextManager[None] | None = None

    def close(self) -> None:
        """Leave a training that broke off; that it went wrong is known by now. An ended one is left already."""
        with contextlib.suppress(LandscopeError):
            self.memory.close()

    def _check(self, model: nn.Module) -> None:
        """Raise unless the memory is of this model or of a part of it."""
        if all(part is not self.memory.model for part in model.modules()):
            raise InputError(
                expected="the model of the memory, or one that holds it", got="another model",
                hint="Make the memory of the very model that is trained.",
            )  # fmt: skip

    def _enter(self, optimizer: torch.optim.Optimizer) -> None:
        self.close()
        training = self.memory.training(optimizer)
        training.__enter__()
        self._training = training

    def _leave(self) -> None:
        training, self._training = self._training, None
        if training is not None:
            training.__exit__(None, None, None)
