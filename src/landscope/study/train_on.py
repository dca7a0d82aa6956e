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

        The steps must be by the rule of the recorded training: its optimiser with the same options, a learning rate of
        the window, minibatches of its size. An analysis tries four steps before it begins, and refuses other ones.

        Args:
            model: A copy of the model at the end of the window, in the modes (train or eval) of the recorded training.
            record: Context manager that records; call it with the optimiser.
            sampling: Order of the minibatches: ``"reshuffled"``, ``"shuffled-once"``, ``"fixed"`` or
                ``"with-replacement"``. Raise NotImplementedError for an order you do not offer.
            n_steps: Steps to take, also where this is no whole number of epochs; fewer are refused.
            seed: Seed of the minibatches, and of nothing else: the same seed must give the same minibatches again.
        """
        ...
