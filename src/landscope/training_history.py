"""Losses and errors at points of a training."""

from __future__ import annotations

import dataclasses

from jaxtyping import Float, Int
from torch import Tensor

from landscope.results import Result

__all__ = ["TrainingHistory"]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class TrainingHistory(Result, kind="training_history", axis="point", dims={"minibatch_loss": ("step",)}):
    """Losses and errors at points of a training, by default at the ends of its epochs.

    Quantities that were not measured are NaN.

    Args:
        steps: Number of optimiser steps before each point, ascending.
        train_loss: Loss on the training set.
        train_error: Fraction of wrong answers on the training set.
        test_loss: Loss on the test set.
        test_error: Fraction of wrong answers on the test set.
        minibatch_loss: Loss of every minibatch before its step; empty if it was not recorded.
    """

    steps: Int[Tensor, " points"]
    train_loss: Float[Tensor, " points"]
    train_error: Float[Tensor, " points"]
    test_loss: Float[Tensor, " points"]
    test_error: Float[Tensor, " points"]
    minibatch_loss: Float[Tensor, " steps"]

    def at(self, step: int) -> int | None:
        """Index of the last point at or before ``step``; None if there is none."""
        before = (self.steps <= step).nonzero().flatten()
        return int(before[-1]) if len(before) else None

    def zero_error_before(self, step: int) -> bool | None:
        """Whether the training error was zero at the last point before ``step``; None if this is unknown."""
        point = self.at(step - 1)
        if point is None:
            return False if len(self.steps) else None
        error = float(self.train_error[point])
        return None if error != error else error == 0
