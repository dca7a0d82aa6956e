"""A course: tasks learnt one after another by one network, and what each method keeps of the earlier ones."""

from __future__ import annotations

import copy
import dataclasses
import time
from collections.abc import Callable, Iterable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from landscope.memory.snapshot import TaskSnapshot
from landscope.parameters import ParameterSpace, Selection
from landscope.protocols import Penalty
from landscope.reproduction.sequential.frozen_prefix import FreeLayers
from landscope.reproduction.sequential.learning import Learner, Watched
from landscope.reproduction.sequential.task_data import Labelled, Task
from landscope.risk.empirical import EmpiricalRisk

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
        select: Selection | Iterable[Selection] | None,
        tasks: Sequence[Task],
        learner: Learner,
        seed: int,
        n_modes: int | None = None,
    ) -> Course:
        """Freeze what is not selected, and evaluate it once on all data."""
        free = FreeLayers(model, select, probe=tasks[0].test[0][:3])
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

    def errors(self) -> Float[Tensor, " tasks"]:
        """Share of wrong answers on the test data of every task, at the weights of the moment."""
        return self.learner.errors(self.part, self.tasks)

    def finish(
        self,
        number: int,
        *,
        penalty: Penalty | None = None,
        data: Labelled | None = None,
        epochs: int | None = None,
        after_step: Callable[[], None] | None = None,
    ) -> TaskSnapshot:
        """Learn a task, record a window at its end, and look back on it.

        Args:
            number: Of the task, from 0.
            penalty: That keeps the earlier ones.
            data: Learnt in place of the task's own, for joint training.
            epochs: Longest wait for a training error of zero, before the window.
            after_step: Called after every step.

        Returns:
            The finished task.
        """
        own, seed = self.tasks[number].train if data is None else data, self._order(number)
        wait, window = self.max_epochs if epochs is None else epochs, self._window_epochs(own)
        learnt = self.learner.until_learnt(
            self.part, own, seed=seed, max_epochs=wait, penalty=penalty, after_step=after_step
        )
        trajectory = self.learner.window(
            self.part, own, seed=seed + 1, epochs=window, penalty=penalty, after_step=after_step
        )
        risk = EmpiricalRisk(self.part, self.learner.criterion, own, space=self._space)
        return TaskSnapshot(risk, trajectory, self.n_modes, learnt=learnt, seed=seed)

    def _window_epochs(self, data: Labelled) -> int:
        return max(self.window_epochs, -(-self.window_steps // self.learner.steps_per_epoch(data)))

    def learn(
        self,
        number: int,
        watch: Sequence[int],
        penalty: Penalty | None = None,
        data: Labelled | None = None,
    ) -> tuple[Watched, float]:
        """Learn a task from the weights of the moment, and put these back afterwards.

        Args:
            number: Of the task, from 0.
            watch: Steps at which all tasks are tested.
            penalty: That keeps the earlier ones.
            data: Learnt in place of the task's own, for joint training.

        Returns:
            What was seen, and the seconds it took.
        """
        before, begun = copy.deepcopy(self.part.state_dict()), time.perf_counter()
        own = self.tasks[number].train if data is None else data
        try:
            watched = self.learner.watched(
                self.part, own, self.tasks, seed=self._order(number), watch=watch, penalty=penalty
            )
        finally:
            self.part.load_state_dict(before)  # statistics of batch normalisation too
        return watched, time.perf_counter() - begun

    def _order(self, number: int) -> int:
        return _ORDERS * self.seed + 10 * number + 1
