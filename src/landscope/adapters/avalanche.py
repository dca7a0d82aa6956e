"""A plugin for Avalanche strategies that protects earlier experiences; it works without importing Avalanche."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from landscope.adapters.memory_session import MemorySession
from landscope.adapters.session import Training
from landscope.memory.task_memory import TaskMemory

__all__ = ["TaskMemoryPlugin"]


class TaskMemoryPlugin(MemorySession):
    """Protects earlier experiences while later ones are learnt, and consolidates each experience when it ends.

    Pass it to any supervised strategy: ``Naive(..., plugins=[TaskMemoryPlugin(memory)])``. A model that takes the task
    label beside the inputs, such as one with a head for each task, is called with it.

    Args:
        memory: Memory of the strategy's model.

    Raises:
        InputError: When an experience begins, if the memory is of another model, or its method does not work for this
            model and loss; when it ends, if the data do not fit.

    Example:
        >>> import types
        >>> from landscope import TaskMemory
        >>> model, x = torch.nn.Linear(2, 2), torch.randn(16, 2)
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> plugin = TaskMemoryPlugin(TaskMemory(model, n_modes=2))
        >>> strategy = types.SimpleNamespace(  # stands for an Avalanche strategy
        ...     model=model, optimizer=optimizer, _criterion=torch.nn.CrossEntropyLoss(),
        ...     experience=types.SimpleNamespace(dataset=[(row, int(row[0] > 0), 0) for row in x]),
        ... )
        >>> plugin.before_training_exp(strategy)
        >>> for _ in range(20):
        ...     strategy.optimizer.zero_grad()
        ...     strategy._criterion(model(x), (x[:, 0] > 0).long()).backward()
        ...     strategy.optimizer.step()
        >>> plugin.after_training_exp(strategy)
        >>> plugin.memory.n_tasks
        1
    """

    def __init__(self, memory: TaskMemory) -> None:
        super().__init__(memory)  # the strategy has the criterion and the data

    def before_training_exp(self, strategy: Any, **_: Any) -> None:
        """Check the loss on a few samples, and begin to record and to protect; called by the strategy."""
        self._check_model(strategy.model)
        self._try(strategy._criterion, self._samples(strategy))
        self._begin(Training(strategy.model, optimizer_for=lambda *_: strategy.optimizer))

    def after_training_exp(self, strategy: Any, **_: Any) -> None:
        """Consolidate the experience; called by the strategy."""
        self._end()
        self.memory.consolidate(strategy._criterion, self._samples(strategy))

    def _samples(self, strategy: Any) -> _Samples:
        return _Samples(strategy.experience.dataset, with_task=_takes_task(self.memory.model))


class _Samples(Dataset[tuple[Tensor, ...]]):
    """Inputs and targets of samples ``(inputs, targets, task)``, with the task between them if the model takes it."""

    def __init__(self, samples: Any, *, with_task: bool) -> None:
        self._samples, self._with_task = samples, with_task

    def __len__(self) -> int:
        return len(self._samples)

    def __getitem__(self, index: int) -> tuple[Tensor, ...]:
        inputs, targets, *rest = self._samples[index]
        task = [torch.as_tensor(rest[-1])] if self._with_task else []
        return inputs, *task, torch.as_tensor(targets)


def _takes_task(model: nn.Module) -> bool:
    """Whether the model is called with the task label beside the inputs, as Avalanche's multi-task modules are."""
    parameters = inspect.signature(model.forward).parameters.values()
    required = [parameter for parameter in parameters if parameter.default is parameter.empty]
    return sum(parameter.kind is parameter.POSITIONAL_OR_KEYWORD for parameter in required) > 1
