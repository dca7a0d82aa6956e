"""The user's function that trains a model on from the end of the window, and how a study calls it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

from torch import nn

__all__ = ["TrainOn"]


@runtime_checkable
class TrainOn(Protocol):
    """Trains a model on from the end of the window."""

    def __call__(self, model: nn.Module, record: Callable[..., Any], *, sampling: str, n_steps: int, seed: int) -> None:
        """Make an optimiser of ``model`` and train ``n_steps`` steps inside ``with record(optimizer):``.

        Args:
            model: A copy of the model at the end of the window.
            record: Context manager that records; call it with the optimiser.
            sampling: Order of the minibatches: ``"reshuffled"``, ``"shuffled-once"``, ``"fixed"`` or
                ``"with-replacement"``. Raise NotImplementedError for an order you do not offer.
            n_steps: Steps to take; a training that takes fewer is not measured.
            seed: Seed of the minibatches.
        """
        ...
