"""The losses and errors of a training, epoch by epoch."""

from __future__ import annotations

import dataclasses

from jaxtyping import Float
from torch import Tensor

from landscope.results import Result

__all__ = ["TrainingHistory"]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class TrainingHistory(
    Result,
    kind="training_history",
    dims={
        "minibatch_loss": ("epoch", "batch"), "train_loss": ("epoch",), "train_error": ("epoch",),
        "test_loss": ("epoch",), "test_error": ("epoch",),
    },
):  # fmt: skip
    """The losses and errors of a training, epoch by epoch.

    Args:
        minibatch_loss: Loss of every minibatch before its step.
        train_loss: Loss on the training set at the end of each epoch.
        train_error: Fraction of wrong answers on the training set.
        test_loss: Loss on the test set at the end of each epoch.
        test_error: Fraction of wrong answers on the test set.
        start_epoch: Epoch after which the first window starts.
        exploration_reached: Whether the training error is zero when the first window starts.
        window_epochs: Number of epochs in each of the two windows.
        steps_per_epoch: Number of minibatches in an epoch.
    """

    minibatch_loss: Float[Tensor, "epochs batches"]
    train_loss: Float[Tensor, " epochs"]
    train_error: Float[Tensor, " epochs"]
    test_loss: Float[Tensor, " epochs"]
    test_error: Float[Tensor, " epochs"]
    start_epoch: int
    exploration_reached: bool
    window_epochs: int
    steps_per_epoch: int

    @property
    def window_step(self) -> int:
        """The last step of the first window; its weights are w0."""
        return (self.start_epoch + self.window_epochs) * self.steps_per_epoch
