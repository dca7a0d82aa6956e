"""A task memory that is active while a training runs, for the callbacks of all frameworks."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Generator, Mapping
from typing import Any

import torch
from torch import nn

from landscope._checks import check_kind
from landscope.adapters.session import Training, TrainingSession
from landscope.errors import InputError, LandscopeError, LandscopeWarning
from landscope.memory.report.task_loss import check_loss_options
from landscope.memory.task_memory import TaskMemory
from landscope.notices import warn
from landscope.risk.own_loss import own_criterion, takes_labels
from landscope.seeded import seeded
from landscope.study.first_samples import first_samples

__all__ = ["MemorySession"]

_MAKE_IT = (
    "Make it first: memory = ls.keep(model, criterion, data), with data=batches and no criterion for a model that "
    "computes its loss itself; or memory = ls.TaskMemory(model), which holds nothing yet."
)


class MemorySession(TrainingSession):
    """Enters ``memory.training(optimizer)`` while a training runs.

    Args:
        memory: Memory of the trained model, or of a part of it.
        criterion: Loss of the task, as for ``memory.consolidate``; None with ``losses``, or for the loss that the model
            itself computes. The method is tried on a few samples before the first step if one of ``criterion``,
            ``data``, ``losses`` and ``loss_options`` is given. Otherwise the loss inside the model is looked for, where
            it takes labels, and a warning says if ``memory.consolidate(data=...)`` could not take it.
        data: Data of the task, as for ``memory.consolidate``; by default those of the framework's loader.
        losses: ``losses(model, batch)`` in place of a criterion.
        loss_options: How the loss is evaluated, as for ``memory.consolidate``.
    """

    def __init__(
        self,
        memory: TaskMemory,
        criterion: Callable[..., Any] | None = None,
        data: Any = None,
        *,
        losses: Callable[[nn.Module, Any], Any] | None = None,
        loss_options: Mapping[str, Any] | None = None,
    ) -> None:
        self.memory = check_kind("the memory", memory, TaskMemory, hint=_MAKE_IT)
        for call, loss in (("criterion(outputs, targets)", criterion), ("losses(model, batch)", losses)):
            if loss is not None and not callable(loss):
                raise InputError(
                    expected=call, got=type(loss).__name__,
                    hint="Pass the loss of the task, as for memory.consolidate(criterion, data).",
                )  # fmt: skip
        check_loss_options(loss_options, of_losses=losses is not None)
        if data is not None and (isinstance(data, str | bytes) or not _has_parts(data)):
            raise InputError(
                expected="the data of the task", got=repr(data)[:80],
                hint="Pass (inputs, targets) or batches, such as a DataLoader, as for memory.consolidate.",
            )  # fmt: skip
        self._criterion, self._data, self._losses, self._loss_options = criterion, data, losses, loss_options

    def close(self) -> None:
        """End the session of a training that was interrupted; does nothing after a training that ended."""
        super().close()
        with contextlib.suppress(LandscopeError):
            self.memory.close()  # another callback may have entered it

    def _context(self, training: Training) -> contextlib.AbstractContextManager[None]:
        self._check_model(training.model)
        given = (self._criterion, self._data, self._losses, self._loss_options)
        if any(one is not None for one in given):
            self._try(self._criterion, training.data if self._data is None else self._data)
        elif takes_labels(self.memory.model):
            self._look_for_own_loss(training.data)
        return self.memory.training(training.optimizer_for(self.memory.space, self.memory.model))

    def _try(self, criterion: Callable[..., Any] | None, data: Any) -> None:
        """Raise if the method does not work for this model and this loss; the training stays as it is to the bit."""
        with _apart_from_training():
            if (few := first_samples(data, collated=True)) is not None:
                self.memory.check(criterion, few, losses=self._losses, loss_options=self._loss_options)

    def _look_for_own_loss(self, data: Any) -> None:
        """Say where the loss inside the model is none that the end of the task could take; this costs two batches."""
        try:
            with _apart_from_training():
                if (few := first_samples(data, collated=True)) is not None:
                    own_criterion(self.memory.model, few)
        except InputError as error:
            warn(
                f"after this training, memory.consolidate(data=...) needs a criterion: {error} Pass criterion= or "
                "losses= to the callback too, and it is tried before the first step",
                LandscopeWarning,
            )

    def _check_model(self, model: nn.Module) -> None:
        """Raise unless the memory is of this model or of a part of it, which may have changed since."""
        if all(part is not self.memory.model for part in model.modules()):
            raise InputError(
                expected="a model that is, or contains, the model of the memory", got="another model",
                hint="Make the memory from the same model object that is trained.",
            )  # fmt: skip
        self.memory.follow_model()


def _has_parts(data: Any) -> bool:
    return hasattr(data, "__iter__") or hasattr(data, "__getitem__")


@contextlib.contextmanager
def _apart_from_training() -> Generator[None]:
    """A context after which the training goes on as if nothing had been tried."""
    with seeded(0), warnings.catch_warnings(), torch.enable_grad():
        warnings.simplefilter("ignore")  # the end of the task says it again, of all data
        yield
