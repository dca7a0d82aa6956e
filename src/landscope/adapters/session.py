"""The base of all callbacks: a context manager that is entered while a training runs."""

from __future__ import annotations

import abc
import contextlib
import dataclasses
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from landscope.errors import LandscopeError
from landscope.parameters import ParameterSpace

__all__ = ["Training", "TrainingSession"]


@dataclasses.dataclass(frozen=True)
class Training:
    """A training that begins or is resumed.

    Args:
        model: The trained model, without wrappers.
        optimizer_for: ``optimizer_for(space, model)``: the optimiser of the selected parameters of a model.
        global_step: Number of steps by the framework's count; above 0 if the training is resumed from a checkpoint.
        steps_taken: Number of steps that the optimiser took before; fewer where mixed precision skipped some.
        was_recorded: Whether the training was recorded before the checkpoint that it is resumed from.
        is_main_process: Whether this is the main process of a distributed run.
        batch_size: Samples of one step of the optimiser: on all devices, accumulated; None where it is not known.
        steps_per_epoch: Steps of the optimiser in an epoch; None where it is not known.
        data: The loader of the training data, where the framework gives it.
        n_steps: Steps that the training will take; None where it is not known.
    """

    model: nn.Module
    optimizer_for: Callable[[ParameterSpace, nn.Module], torch.optim.Optimizer]
    global_step: int = 0
    steps_taken: int = 0
    was_recorded: bool = False
    is_main_process: bool = True
    batch_size: int | None = None
    steps_per_epoch: int | None = None
    data: Any = None
    n_steps: int | None = None


class TrainingSession(abc.ABC):
    """Enters a context manager when a training begins and leaves it when the training ends."""

    _entered: contextlib.ExitStack | None = None

    @abc.abstractmethod
    def _context(self, training: Training) -> contextlib.AbstractContextManager[Any]:
        """The context manager for a training."""

    def close(self) -> None:
        """End the session of a training that was interrupted; does nothing after a training that ended.

        Errors about the recorded weights are dropped, because the interruption is known already.
        """
        with contextlib.suppress(LandscopeError):
            self._end()

    def _begin(self, training: Training) -> None:
        self.close()  # an interrupted training may have left its hooks
        with contextlib.ExitStack() as stack:
            stack.enter_context(self._context(training))
            self._entered = stack.pop_all()

    def _end(self) -> None:
        entered, self._entered = self._entered, None
        if entered is not None:
            entered.close()
