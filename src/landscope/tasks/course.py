"""A course: tasks learnt one after another by one network, and what each method keeps of the earlier ones."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from landscope.parameters import ParameterSpace
from landscope.protocols import Penalty
from landscope.risk import EmpiricalRisk
from landscope.tasks.finished import FinishedTask
from landscope.tasks.frozen import FreeLayers
from landscope.tasks.groups import Labelled, Task
from landscope.tasks.learning import Learner, Watched

__all__ = ["Course"]

_ORDERS = 1000
"""Seeds of the minibatches of one course are so far from those of the next."""


@dataclasses.dataclass
class Course:
    """A network, its tasks, and how it learns them.

    Made by :meth:`begin`; the network's weights are those of the moment.

    Args:
        part: The part of the network that learns.
        tasks: As that part sees them.
        learner: How it learns.
        seed: Of the minibatches.
        max_epochs: Longest wait for a training error of zero.
        window_steps: Fewest steps of the window that the modes are found in.
        window_epochs: Fewest epochs of it.
        n_modes: Most modes that are found; all by default.
    """

    part: nn.Module
    tasks: Sequence[Task]
    learner: Learner
    seed: int
    max_epochs: int = 50
    window_steps: int = 500
    window_epochs: int = 10
    n_modes: int | None = None

    @classmethod
    def begin(
        cls,
        model: nn.Module,
        select: str | None,
        tasks: Sequence[Task],
        learner: Learner,
        seed: int,
        n_modes: int | None = None,
    ) -> Course:
        """Freeze what is not selected, and evaluate it once on all data."""
        free = FreeLayers(model, select)
        return cls(free.part, [free.of(task) for task in tasks], learner, seed, n_modes=n_modes)

    @property
    def weights(self) -> Float[Tensor, " N"]:
        """The free weights of the moment."""
        return self._space.flatten(self.part)

    @torch.no_grad()
    def put(self, w: Float[Tensor, " N"]) -> None:
        """Set the free weights."""
        for tensor, value in zip(self._space.tensors(self.part), self._space.unflatten(w).values(), strict=True):
            tensor.copy_(value)

    @property
    def _space(self) -> ParameterSpace:
        return ParameterSpace.of(self.part)

    def finish(self, number: int, *, penalty: Penalty | None = None) -> tuple[FinishedTask, bool]:
        """Learn a task until there is no training error, record a window, and look back on it.

        Args:
            number: Of the task, from 0.
            penalty: That keeps the earlier ones.

        Returns:
            The finished task, and whether its training error was zero when the window began.
        """
        data, seed = self.tasks[number].train, self._order(number)
        learnt = self.learner.until_learnt(self.part, data, seed=seed, max_epochs=self.max_epochs, penalty=penalty)
        epochs = max(self.window_epochs, -(-self.window_steps // self.learner.steps_per_epoch(data)))
        trajectory = self.learner.window(self.part, data, seed=seed + 1, epochs=epochs, penalty=penalty)
        risk = EmpiricalRisk(self.part, self.learner.criterion, data, space=self._space)
        return FinishedTask(risk, trajectory, self.n_modes), learnt

    def learn(
        self,
        number: int,
        watch: Sequence[int],
        penalty: Penalty | None = None,
        data: Labelled | None = None,
        told: Callable[[int, Tensor], None] | None = None,
    ) -> tuple[Watched, float]:
        """Learn a task from the weights of the moment, and put these back afterwards.

        Args:
            number: Of the task, from 0.
            watch: Steps at which all tasks are tested.
            penalty: That keeps the earlier ones.
            data: Learnt in place of the task's own, for joint training.
            told: Called with each step that is watched and its errors.

        Returns:
            What was seen, and the seconds it took.
        """
        before, begun = self.weights, time.perf_counter()
        own = self.tasks[number].train if data is None else data
        try:
            watched = self.learner.watched(
                self.part, own, self.tasks, seed=self._order(number), watch=watch, penalty=penalty, told=told
            )
        finally:
            self.put(before)
        return watched, time.perf_counter() - begun

    def _order(self, number: int) -> int:
        return _ORDERS * self.seed + 10 * number + 1
