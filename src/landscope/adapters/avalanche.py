"""Holding tasks under an Avalanche strategy; by its hooks alone, so Avalanche need not be installed."""

from __future__ import annotations

import inspect
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from landscope.adapters.holding import Holding

__all__ = ["TaskMemoryPlugin"]


@runtime_checkable
class _Experience(Protocol):
    dataset: Any


@runtime_checkable
class _Strategy(Protocol):
    """What is asked of a strategy."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    experience: _Experience
    _criterion: Any


class TaskMemoryPlugin(Holding):
    """Holds earlier experiences while later ones are learnt, and consolidates each when it ends.

    Give it to any supervised strategy: ``Naive(..., plugins=[TaskMemoryPlugin(memory)])``. A model called with the
    inputs and the number of their task, such as one with a head for each, is measured so too.

    Args:
        memory: Of the strategy's model.

    Raises:
        InputError: When an experience begins, if the memory is of another model; when it ends, if the data do not fit.

    Example:
        >>> import types
        >>> from landscope import TaskMemory
        >>> model, x = torch.nn.Linear(2, 2), torch.randn(16, 2)
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> plugin = TaskMemoryPlugin(TaskMemory(model, n_modes=2))
        >>> strategy = types.SimpleNamespace(  # in the place of avalanche's
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

    def before_training_exp(self, strategy: _Strategy, **_: Any) -> None:
        """Record and hold from now on; called by the strategy."""
        self._check(strategy.model)
        self._enter(strategy.optimizer)

    def after_training_exp(self, strategy: _Strategy, **_: Any) -> None:
        """Consolidate what was learnt; called by the strategy."""
        self._leave()
        samples = _Samples(strategy.experience.dataset, with_task=_asks_for_task(self.memory.model))
        self.memory.consolidate(strategy._criterion, samples)


class _Samples(Dataset[tuple[Tensor, ...]]):
    """Inputs and targets of samples ``(inputs, targets, task)``, the task between them where a model asks for it."""

    def __init__(self, samples: Any, *, with_task: bool) -> None:
        self._samples, self._with_task = samples, with_task

    def __len__(self) -> int:
        return len(self._samples)

    def __getitem__(self, index: int) -> tuple[Tensor, ...]:
        inputs, targets, *rest = self._samples[index]
        told = [torch.as_tensor(rest[-1])] if self._with_task else []
        return inputs, *told, torch.as_tensor(targets)


def _asks_for_task(model: nn.Module) -> bool:
    """Whether the model is called with the task beside the inputs, as multi-task modules are."""
    needed = [one for one in inspect.signature(model.forward).parameters.values() if one.default is one.empty]
    return sum(one.kind is one.POSITIONAL_OR_KEYWORD for one in needed) > 1
