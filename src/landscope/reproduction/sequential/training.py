"""How each task of a sequence is learnt."""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import nn

from landscope.reproduction.experiment.training import evaluate, train
from landscope.reproduction.sequential.task_data import Criterion, Labelled, Task
from landscope.sampling import MinibatchOrder

__all__ = ["OptimizerName", "TaskTraining"]

OptimizerName = Literal["sgd", "momentum", "adam", "adamw"]
"""Plain SGD; SGD with momentum 0.9; Adam and AdamW with PyTorch's own settings."""
_OPTIMIZERS: Mapping[OptimizerName, Callable[..., torch.optim.Optimizer]] = {
    "sgd": torch.optim.SGD,
    "momentum": functools.partial(torch.optim.SGD, momentum=0.9),
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
}


@dataclasses.dataclass(frozen=True)
class TaskTraining:
    """SGD, or another optimiser, on reshuffled minibatches of labelled samples.

    With a window, a task is trained until its training error is zero, ``epochs`` at most, and then for the window.
    Without one, it is trained for ``epochs``.

    Args:
        epochs: Epochs of each task, or the longest wait for a training error of zero.
        window_epochs: Fewest epochs of the window; 0 for none.
        window_steps: Fewest steps of the window.
        max_steps: Number of steps to train (to the end of that epoch), without wait and window.
        batch_size: Samples of a minibatch, B; all samples of a task where it has fewer.
        learning_rate: alpha.
        max_samples: Samples of a task on which its loss is measured, the first ones; all by default.
        seed: Seed of the minibatches.
        criterion: Loss of a task.
        optimizer_name: The optimiser; its state goes on from task to task.
    """

    epochs: int = 50
    window_epochs: int = 10
    window_steps: int = 500
    max_steps: int | None = None
    batch_size: int = 50
    learning_rate: float = 0.1
    max_samples: int | None = None
    seed: int = 0
    criterion: Criterion = F.cross_entropy
    optimizer_name: OptimizerName = "sgd"

    def optimizer(self, model: nn.Module) -> torch.optim.Optimizer:
        """The optimiser of the free parameters."""
        free = [parameter for parameter in model.parameters() if parameter.requires_grad]
        return _OPTIMIZERS[self.optimizer_name](free, lr=self.learning_rate)

    def steps_per_epoch(self, data: Labelled) -> int:
        """Whole minibatches of an epoch."""
        return len(data[1]) // min(self.batch_size, len(data[1]))

    def order(self, number: int) -> int:
        """Seed of the minibatch order of a task; the next one is that of its window."""
        return 1000 * self.seed + (10 * number + 1 if self.window_epochs else number)

    def window(self, data: Labelled) -> int | None:
        """Steps of the window; None where there is none."""
        return self._window_epochs(data) * self.steps_per_epoch(data) if self.window_epochs else None

    def _window_epochs(self, data: Labelled) -> int:
        return max(self.window_epochs, -(-self.window_steps // self.steps_per_epoch(data)))

    def train(
        self, model: nn.Module, data: Labelled, optimizer: torch.optim.Optimizer, number: int, criterion: Criterion
    ) -> bool:
        """Learn task ``number``; True if its training error was zero when its window began."""
        order = self.order(number)
        if self.max_steps is not None or not self.window_epochs:
            steps = self.max_steps or self.epochs * self.steps_per_epoch(data)
            next(epoch for epoch in self._epochs(model, data, optimizer, order, criterion) if epoch.step >= steps)
            return False
        learnt = self.until_learnt(model, data, optimizer, order, criterion)
        epochs = self._epochs(model, data, optimizer, order + 1, criterion)
        for _ in itertools.islice(epochs, self._window_epochs(data)):
            pass
        return learnt

    def until_learnt(
        self,
        model: nn.Module,
        data: Labelled,
        optimizer: torch.optim.Optimizer,
        order: int,
        criterion: Criterion | None = None,
    ) -> bool:
        """Train until the training error is zero, ``epochs`` at most; True if it is zero."""
        loss = criterion or self.criterion
        for epoch in self._epochs(model, data, optimizer, order, loss):
            if epoch.number >= self.epochs or evaluate(model, data, loss)[1] == 0:
                break
        return evaluate(model, data, loss)[1] == 0

    def _epochs(
        self, model: nn.Module, data: Labelled, optimizer: torch.optim.Optimizer, order: int, criterion: Criterion
    ) -> Iterator[Any]:
        batch_size = min(self.batch_size, len(data[1]))
        return train(model, criterion, data, optimizer, MinibatchOrder(len(data[1]), batch_size, "reshuffled", order))

    def error(self, model: nn.Module, task: Task) -> float:
        """Share of wrong answers on the test data."""
        return evaluate(model, task.test)[1]

    def measured_on(self, data: Labelled) -> Any:
        """Data on which the loss of a task is measured: its first ``max_samples`` samples."""
        return data[0][: self.max_samples], data[1][: self.max_samples]

    def settings(self) -> dict[str, Any]:
        """The numbers that describe it, for the provenance of results."""
        return {name: value for name, value in vars(self).items() if name != "criterion"}
