"""Learning one task, with a penalty that keeps the ones before, and watching what happens to all."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
from collections.abc import Callable, Generator, Iterable, Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from landscope.parameters import ParameterSpace
from landscope.penalties.proximal import ProximalSteps
from landscope.protocols import Penalty
from landscope.recorder import TrajectoryRecorder
from landscope.reproduction.experiment.training import evaluate, train
from landscope.reproduction.sequential.task_data import Labelled, Task
from landscope.sampling import MinibatchOrder
from landscope.trajectory import Trajectory

__all__ = ["Learner", "Watched"]


@dataclasses.dataclass(frozen=True)
class Watched:
    """Test errors of every task while one is learnt.

    Args:
        steps: Minibatches learnt, 0 first, ``[S]``.
        errors: Share of wrong answers on the test data of each task, ``[S, tasks]``.
        weights: The free weights at these steps, ``[S, N]``.
    """

    steps: tuple[int, ...]
    errors: Float[Tensor, "S tasks"]
    weights: Float[Tensor, "S N"]


@dataclasses.dataclass(frozen=True)
class Learner:
    """How tasks are learnt: plain SGD with reshuffled minibatches.

    Args:
        batch_size: B.
        learning_rate: alpha.
        criterion: ``criterion(outputs, labels)``: the losses of a minibatch, or their mean.
    """

    batch_size: int = 50
    learning_rate: float = 0.1
    criterion: Callable[[Tensor, Tensor], Tensor] = F.cross_entropy

    def optimizer(self, model: nn.Module) -> torch.optim.Optimizer:
        """SGD on what is free."""
        return torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=self.learning_rate)

    def steps_per_epoch(self, data: Labelled) -> int:
        """Whole minibatches an epoch."""
        return len(data[1]) // min(self.batch_size, len(data[1]))

    def until_learnt(
        self,
        model: nn.Module,
        data: Labelled,
        *,
        seed: int,
        max_epochs: int,
        penalty: Penalty | None = None,
        after_step: Callable[[], None] | None = None,
    ) -> bool:
        """Train until there is no training error, or so many epochs; say whether there is none."""
        with self._session(model, penalty, after_step) as optimizer:
            for epoch in self._epochs(model, data, optimizer, seed):
                if epoch >= max_epochs or evaluate(model, data, self.criterion)[1] == 0:
                    break
        return evaluate(model, data, self.criterion)[1] == 0

    def window(
        self,
        model: nn.Module,
        data: Labelled,
        *,
        seed: int,
        epochs: int,
        penalty: Penalty | None = None,
        after_step: Callable[[], None] | None = None,
    ) -> Trajectory:
        """Train on, and record the free weights of every step."""
        with self._session(model, penalty, after_step) as optimizer, TrajectoryRecorder(model, optimizer) as recorder:
            for epoch in self._epochs(model, data, optimizer, seed):
                if epoch >= epochs:
                    break
        return recorder.trajectory()

    def watched(
        self,
        model: nn.Module,
        data: Labelled,
        tasks: Sequence[Task],
        *,
        seed: int,
        watch: Sequence[int],
        penalty: Penalty | None = None,
    ) -> Watched:
        """Learn from some data until the last step to be watched.

        Args:
            model: Trained in place.
            data: What is learnt.
            tasks: Whose errors are watched.
            seed: Of the order of the minibatches.
            watch: Steps, rising; 0 is added.
            penalty: Taken as an implicit step after each step.

        Returns:
            What was seen.
        """
        space = ParameterSpace.of(model)
        steps: list[int] = []
        errors: list[Tensor] = []
        weights: list[Tensor] = []
        taken, wanted, last = itertools.count(), {0, *watch}, max(watch)

        def look() -> None:
            if (step := next(taken)) in wanted:
                steps.append(step)
                errors.append(self.errors(model, tasks))
                weights.append(space.flatten(model))

        look()
        with self._session(model, penalty, look) as optimizer:
            for epoch in self._epochs(model, data, optimizer, seed):
                if epoch * self.steps_per_epoch(data) >= last:
                    break
        return Watched(tuple(steps), torch.stack(errors), torch.stack(weights))

    def errors(self, model: nn.Module, tasks: Sequence[Task]) -> Float[Tensor, " tasks"]:
        """Share of wrong answers on the test data of each task."""
        return torch.tensor([evaluate(model, task.test)[1] for task in tasks], dtype=torch.float64)

    def _epochs(self, model: nn.Module, data: Labelled, optimizer: torch.optim.Optimizer, seed: int) -> Iterable[int]:
        order = MinibatchOrder(len(data[1]), min(self.batch_size, len(data[1])), "reshuffled", seed)
        for epoch in train(model, self.criterion, data, optimizer, order):
            yield epoch.number

    @contextlib.contextmanager
    def _session(
        self, model: nn.Module, penalty: Penalty | None, after_step: Callable[[], None] | None
    ) -> Generator[torch.optim.Optimizer]:
        """An optimiser whose steps are followed by those of a penalty, and then by a look."""
        optimizer = self.optimizer(model)
        with contextlib.ExitStack() as stack:
            if penalty is not None:
                stack.enter_context(ProximalSteps(penalty, model, optimizer))
            if after_step is not None:
                stack.callback(optimizer.register_step_post_hook(lambda *_: after_step()).remove)
            yield optimizer
