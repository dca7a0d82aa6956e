"""What every way to keep tasks can do."""

from __future__ import annotations

import contextlib
from typing import Any, Protocol, runtime_checkable

import torch

__all__ = ["Memory"]


@runtime_checkable
class Memory(Protocol):
    """Keeps earlier tasks while an optimiser learns another one."""

    n_tasks: int
    """Tasks that were consolidated."""

    @property
    def n_stored(self) -> int:
        """Numbers that are kept of them, samples included."""
        ...

    def training(self, optimizer: torch.optim.Optimizer) -> contextlib.AbstractContextManager[None]:
        """Watch, and keep what was learnt, while this optimiser trains the model."""
        ...

    def consolidate(self, criterion: Any, data: Any) -> object:
        """End a task."""
        ...
