"""Real samples of earlier tasks: some of every class, some of every task, or a uniform part of all that was seen."""

from __future__ import annotations

import dataclasses
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

__all__ = ["StoredSamples", "Store"]

Store = Literal["class", "task", "reservoir"]
"""Which samples are stored: as many of each class, as many of each task, or as many in all."""


@dataclasses.dataclass(frozen=True)
class StoredSamples:
    """Samples with a random number each: those with the smallest ones stay, so that every sample is as likely to.

    Args:
        inputs: Inputs.
        labels: Labels, as outputs of the model.
        task: Task of each sample.
        order: The random numbers.
    """

    inputs: Tensor
    labels: Int[Tensor, " m"]
    task: Int[Tensor, " m"]
    order: Float[Tensor, " m"]

    @classmethod
    def of(
        cls, inputs: Tensor, labels: Int[Tensor, " m"], task: int, store: Store, count: int, generator: torch.Generator
    ) -> StoredSamples:
        """The samples of one task that are stored: ``count`` of each class, or of the task."""
        order = torch.rand(len(labels), generator=generator, dtype=torch.float64)
        everything = cls(inputs, labels, torch.full_like(labels, task), order)
        if store != "class":
            return everything.first(count)
        ranked = order.argsort()
        rows = [ranked[labels[ranked] == label][:count] for label in labels.unique()]
        return everything._at(torch.cat(rows))

    def first(self, count: int) -> StoredSamples:
        """The ``count`` samples with the smallest numbers."""
        return self._at(self.order.argsort()[:count])

    def joined(self, later: StoredSamples) -> StoredSamples:
        """These and those of a later task."""
        names = [field.name for field in dataclasses.fields(self)]
        return StoredSamples(*(torch.cat([getattr(self, name), getattr(later, name)]) for name in names))

    def draw(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Inputs, labels and tasks of stored samples, every one as likely, with replacement."""
        chosen = torch.randint(len(self.labels), (count,), generator=generator)
        return self.inputs[chosen], self.labels[chosen], self.task[chosen]

    @property
    def n_stored(self) -> int:
        """Number of values stored."""
        return self.inputs.numel() + self.labels.numel()

    def _at(self, rows: Int[Tensor, " k"]) -> StoredSamples:
        return StoredSamples(self.inputs[rows], self.labels[rows], self.task[rows], self.order[rows])
