"""Holding tasks under an Avalanche strategy; by its hooks alone, so Avalanche need not be installed."""

from __future__ import annotations

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

    Give it to any supervised strategy: ``Naive(..., plugins=[TaskMemoryPlugin(memory)])``.

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
        self.memory.consolidate(strategy._criterion, _Pairs(strategy.experience.dataset))


class _Pairs(Dataset[tuple[Tensor, Tensor]]):
    """Inputs and targets of samples that carry more, such as the number of their task."""

    def __init__(self, samples: Any) -> None:
        self._samples = samples

    def __len__(self) -> int:
        return len(self._samples)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        inputs, targets, *_ = self._samples[index]
        return inputs, torch.as_tensor(targets)
