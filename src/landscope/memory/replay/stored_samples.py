"""Real samples of earlier tasks: some of every class, some of every task, or a uniform part of all that was seen."""

from __future__ import annotations

import dataclasses
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from landscope.errors import InputError
from landscope.memory.replay.labelled import Labelled

__all__ = ["Per", "StoredSamples"]

Per = Literal["task", "class", "all"]
"""Which samples are stored: as many of each task, as many of each class of it, or as many in all."""


@dataclasses.dataclass(frozen=True)
class StoredSamples:
    """Samples with a random number each: those with the smallest ones stay, so that every sample is as likely to.

    Args:
        samples: The samples.
        order: The random numbers.
    """

    samples: Labelled
    order: Float[Tensor, " m"]

    @classmethod
    def of(cls, samples: Labelled, per: Per, count: int, generator: torch.Generator) -> StoredSamples:
        """The samples of one task that are stored: ``count`` of each class, or of the task.

        Raises:
            InputError: If samples with a label for each place are to be chosen by class.
        """
        everything = cls(samples, torch.rand(len(samples.labels), generator=generator, dtype=torch.float64))
        if per != "class":
            return everything.first(count)
        if samples.has_tokens:
            raise InputError(
                expected="one class a sample, to store as many of each class", got="one label a token",
                hint='Leave per out: Samples(200) stores as many of each task.',
            )  # fmt: skip
        ranked = everything.order.argsort()
        rows = [ranked[samples.labels[ranked] == label][:count] for label in samples.labels.unique()]
        return everything._at(torch.cat(rows))

    def first(self, count: int) -> StoredSamples:
        """The ``count`` samples with the smallest numbers."""
        return self._at(self.order.argsort()[:count])

    def joined(self, later: StoredSamples) -> StoredSamples:
        """These and those of a later task."""
        return StoredSamples(self.samples.joined(later.samples), torch.cat([self.order, later.order]))

    def draw(self, count: int, generator: torch.Generator) -> Labelled:
        """Stored samples, every one as likely, with replacement."""
        return self.samples.at(torch.randint(len(self.order), (count,), generator=generator))

    @property
    def n_stored(self) -> int:
        """Number of values stored."""
        return self.samples.n_stored

    def _at(self, rows: Tensor) -> StoredSamples:
        return StoredSamples(self.samples.at(rows), self.order[rows])
