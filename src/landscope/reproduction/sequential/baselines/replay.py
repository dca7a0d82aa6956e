"""Replay: a few samples of every task are learnt again with the next tasks."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator

import torch
from torch import Tensor, nn

from landscope._checks import generator_of
from landscope.reproduction.sequential.task_data import SelectedOutputs
from landscope.step_size import gradient_scale

__all__ = ["Replay"]


class Replay:
    r"""Adds the loss of a minibatch of stored samples to every step (Chaudhry et al., arXiv 1902.10486).

    .. math:: g \leftarrow \nabla L(\text{minibatch}) + \nabla L(\text{minibatch of all stored samples})

    Methods that may store samples usually beat those that must not, so this is an upper reference. The outputs of its
    own task answer for each sample.

    Args:
        model: The model in training.
        n_samples: Samples stored of each task, chosen at random.
        batch_size: Samples of a minibatch of them.
        seed: Seed of both choices.

    Example:
        >>> import torch
        >>> model = torch.nn.Linear(2, 2)
        >>> memory = Replay(model, n_samples=3)
        >>> memory.consolidate(torch.nn.CrossEntropyLoss(), (torch.randn(9, 2), torch.tensor([0, 1, 1] * 3)))
        >>> memory.n_stored
        9
    """

    def __init__(self, model: nn.Module, *, n_samples: int = 100, batch_size: int = 50, seed: int = 0) -> None:
        self.model, self.n_samples, self.batch_size = model, n_samples, batch_size
        self._generator = generator_of(seed)
        self._stored: list[tuple[Callable[..., Tensor], Tensor, Tensor, slice]] = []

    @contextlib.contextmanager
    def training(self, optimizer: torch.optim.Optimizer) -> Generator[None]:
        """Add the gradient of stored samples before every step."""
        handle = optimizer.register_step_pre_hook(self._add)
        try:
            yield
        finally:
            handle.remove()

    @torch.enable_grad()
    def _add(self, optimizer: torch.optim.Optimizer, *_: object) -> None:
        if not self._stored:
            return
        counts = torch.tensor([len(labels) for _, _, labels, _ in self._stored])
        drawn = torch.randint(int(counts.sum()), (self.batch_size,), generator=self._generator)
        task = torch.bucketize(drawn, counts.cumsum(0), right=True)
        place = drawn - (counts.cumsum(0) - counts)[task]
        present = self.model.columns if isinstance(self.model, SelectedOutputs) else slice(None)
        body = self.model.body if isinstance(self.model, SelectedOutputs) else self.model
        for number, (criterion, inputs, labels, columns) in enumerate(self._stored):
            rows = place[task == number].to(labels.device)
            if len(rows):
                answering = present if columns.start == present.start else columns  # outputs that grew since
                loss = criterion(body(inputs[rows])[:, answering], labels[rows])
                (loss.mean() * (len(rows) / self.batch_size) * gradient_scale(optimizer)).backward()

    def consolidate(self, criterion: Callable[..., Tensor], data: tuple[Tensor, Tensor]) -> None:
        """Store some samples ``(inputs, labels)`` of this task, its loss, and the outputs that answer."""
        inputs, labels = data
        chosen = torch.randperm(len(labels), generator=self._generator)[: self.n_samples].to(labels.device)
        columns = self.model.columns if isinstance(self.model, SelectedOutputs) else slice(None)
        self._stored.append((criterion, inputs[chosen].clone(), labels[chosen].clone(), columns))

    @property
    def n_stored(self) -> int:
        """Number of values stored for earlier tasks."""
        return sum(inputs.numel() + labels.numel() for _, inputs, labels, _ in self._stored)
