"""The user's function that trains a model on from the end of the window, and how a study calls it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

from torch import nn

__all__ = ["TrainOn"]


@runtime_checkable
class TrainOn(Protocol):
    """Trains a model on from the end of the window: ``f(model, record, *, sampling, n_steps, seed)``.

    The model begins with the weights and buffers at the end of the window; nothing else is restored. The function makes
    the optimiser, with the options of the recorded one, and its state (momentum, second moments) begins at zero. So
    the first steps of a training with momentum or Adam are shorter or longer than the recorded ones.

    Orders of the minibatches, ``sampling``: ``"reshuffled"`` draws a new order for each epoch, ``"shuffled-once"``
    keeps one random order, ``"fixed"`` takes the samples in the order of the data, and ``"with-replacement"`` draws
    each minibatch anew.

    Example:
        >>> import torch
        >>> x, y = torch.randn(64, 3), torch.arange(64) % 2
        >>> def train_on(model, record, *, sampling, n_steps, seed):
        ...     if sampling != "with-replacement":
        ...         raise NotImplementedError("This training draws its minibatches with replacement.")
        ...     generator = torch.Generator().manual_seed(seed)
        ...     optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        ...     with record(optimizer):
        ...         for _ in range(n_steps):
        ...             batch = torch.randint(64, (8,), generator=generator)
        ...             optimizer.zero_grad()
        ...             torch.nn.functional.cross_entropy(model(x[batch]), y[batch]).backward()
        ...             optimizer.step()
        >>> isinstance(train_on, TrainOn)
        True
    """

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
