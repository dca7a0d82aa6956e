"""What every way to keep tasks can do."""

from __future__ import annotations

import contextlib
from typing import Any, Protocol, runtime_checkable

import torch
from torch import nn

from landscope._checks import check_hooked
from landscope.errors import InputError

__all__ = ["Memory", "check_moves"]


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


def check_moves(optimizer: torch.optim.Optimizer, model: nn.Module) -> None:
    """Raise where an optimiser moves nothing of a model."""
    held = set(map(id, model.parameters()))
    if all(id(p) not in held for group in check_hooked(optimizer).param_groups for p in group["params"]):
        raise InputError(
            expected="an optimiser of the model", got="one of other weights",
            hint="Make it from this very model's parameters.",
        )  # fmt: skip
