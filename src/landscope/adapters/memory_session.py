"""A task memory that is active while a training runs, for the callbacks of all frameworks."""

from __future__ import annotations

import contextlib

from torch import nn

from landscope._checks import check_kind
from landscope.adapters.session import Training, TrainingSession
from landscope.errors import InputError, LandscopeError
from landscope.memory.task_memory import TaskMemory

__all__ = ["MemorySession"]


class MemorySession(TrainingSession):
    """Enters ``memory.training(optimizer)`` while a training runs.

    Args:
        memory: Memory of the trained model, or of a part of it.
    """

    def __init__(self, memory: TaskMemory) -> None:
        self.memory = check_kind("the memory", memory, TaskMemory, hint="Pass ls.TaskMemory(model).")

    def close(self) -> None:
        """End the session of a training that was interrupted; does nothing after a training that ended."""
        super().close()
        with contextlib.suppress(LandscopeError):
            self.memory.close()  # another callback may have entered it

    def _context(self, training: Training) -> contextlib.AbstractContextManager[None]:
        self._check_model(training.model)
        return self.memory.training(training.optimizer_for(self.memory.space, self.memory.model))

    def _check_model(self, model: nn.Module) -> None:
        """Raise unless the memory is of this model or of a part of it."""
        if all(part is not self.memory.model for part in model.modules()):
            raise InputError(
                expected="a model that is, or contains, the model of the memory", got="another model",
                hint="Make the memory from the same model object that is trained.",
            )  # fmt: skip
