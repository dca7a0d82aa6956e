"""The protocol of every method that keeps tasks."""

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
    """Keeps earlier tasks while an optimiser learns another task."""

    n_tasks: int
    """Tasks that were consolidated."""

    @property
    def n_stored(self) -> int:
        """Numbers that are stored of them, samples included."""
        ...

    def training(self, optimizer: torch.optim.Optimizer) -> contextlib.AbstractContextManager[None]:
        """Protect earlier tasks while this optimiser trains the model."""
        ...

    def consolidate(self, criterion: Any, data: Any) -> object:
        """End a task."""
        ...


def check_moves(optimizer: torch.optim.Optimizer, model: nn.Module) -> None:
    """Raise if an optimiser moves no parameter of a model."""
    held = set(map(id, model.parameters()))
    if all(id(p) not in held for group in check_hooked(optimizer).param_groups for p in group["params"]):
        raise InputError(
            expected="an optimiser of the model", got="one of other weights",
            hint="Make it from this very model's parameters.",
        )  # fmt: skip
