"""The protocol of every method that keeps tasks."""

from __future__ import annotations

import contextlib
from typing import Any, Protocol, runtime_checkable

import torch

__all__ = ["Memory"]


@runtime_checkable
class Memory(Protocol):
    """Keeps earlier tasks while an optimiser learns another task."""

    @property
    def n_stored(self) -> int:
        """Number of values stored for earlier tasks, samples included."""
        ...

    def training(self, optimizer: torch.optim.Optimizer) -> contextlib.AbstractContextManager[None]:
        """Protect earlier tasks while this optimiser trains the model."""
        ...

    def consolidate(self, criterion: Any, data: Any) -> object:
        """End a task."""
        ...
