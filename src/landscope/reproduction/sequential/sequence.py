"""Many tasks in a row: one penalty a task, added up, and what is left of each at the end."""

from __future__ import annotations

import dataclasses
import functools
import math
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from landscope._checks import check_choice
from landscope.memory.accumulate import accumulate, n_directions_of, task_penalty
from landscope.protocols import Penalty
from landscope.reproduction.sequential.ablations import COMPARED, UNPROTECTED, method_label
from landscope.reproduction.sequential.course import Course
from landscope.reproduction.sequential.task_data import joined_tasks
from landscope.results import Result, stamp

__all__ = ["LearntTask", "TasksInTurn", "learn_in_turn"]

Look = tuple[int, int, Tensor]
Told = Callable[[int, int, Tensor], None]
"""Told the number of the task that is learnt, the step, and the errors of all tasks."""


@dataclasses.dataclass(frozen=True)
class LearntTask:
    """What is known once a task was learnt.

    Args:
        error: Of all tasks.
        seconds: To learn it.
        keeping_seconds: To make what keeps it.
        n_stored: Numbers that are kept of all tasks so far.
        n_held: Directions that what keeps it alone holds.
        n_steps: Minibatches.
    """

    error: Float[Tensor, " tasks"]
    seconds: float
    keeping_seconds: float
    n_stored: int
    n_held: int
    n_steps: int


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class TasksInTurn(
    Result,
    kind="tasks_in_turn",
    dims={
        "error": ("learnt", "task"), "watched_task": ("watched",), "watched_step": ("watched",),
        "watched_error": ("watched", "task"), "seconds": ("learnt",), "keeping_seconds": ("learnt",),
        "n_stored": ("learnt",), "n_held": ("learnt",), "n_steps": ("learnt",),
    },
):  # fmt: skip
    """Errors of all tasks, each learnt after the other.

    Args:
        method: What kept the earlier ones.
        strength: lambda.
        n_modes: Directions that were asked for.
        rank: Directions that the penalties of all tasks together keep, or None for all.
        tasks: Names.
        error: Share of wrong answers on the test data of each task, after each task was learnt.
        watched_task: Number of the task that was learnt when errors were looked at in between.
        watched_step: Minibatches of it until then.
        watched_error: The errors.
        seconds: To learn each task.
        keeping_seconds: To make its penalty.
        n_stored: Numbers that the penalty of all tasks so far holds.
        n_held: Directions that the penalty of each task alone holds: at most as many as moved and have a flatness.
        n_steps: Minibatches until each task was learnt, its window included.
        dim: Number of weights, N.
    """

    method: str
    strength: float
    n_modes: int
    rank: int | None
    tasks: tuple[str, ...]
    error: Float[Tensor, "learnt tasks"]
    watched_task: Int[Tensor, " watched"]
    watched_step: Int[Tensor, " watched"]
    watched_error: Float[Tensor, "watched tasks"]
    seconds: Float[Tensor, " learnt"]
    keeping_seconds: Float[Tensor, " learnt"]
    n_stored: Int[Tensor, " learnt"]
    n_held: Int[Tensor, " learnt"]
    n_steps: Int[Tensor, " learnt"]
    dim: int

    @classmethod
    def of(cls, learnt: Sequence[LearntTask], looks: Sequence[Look] = (), **rest: Any) -> TasksInTurn:
        """One row a task, and one a look in between: the task that was learnt, the step, the errors."""
        tasks, steps = ([look[place] for look in looks] for place in (0, 1))
        watched = [errors for *_, errors in looks]
        return cls(
            error=torch.stack([one.error for one in learnt]),
            watched_task=torch.tensor(tasks, dtype=torch.int64),
            watched_step=torch.tensor(steps, dtype=torch.int64),
            watched_error=torch.stack(watched) if watched else learnt[0].error[None][:0],
            seconds=torch.tensor([one.seconds for one in learnt], dtype=torch.float64),
            keeping_seconds=torch.tensor([one.keeping_seconds for one in learnt], dtype=torch.float64),
            n_stored=torch.tensor([one.n_stored for one in learnt]),
            n_held=torch.tensor([one.n_held for one in learnt]),
            n_steps=torch.tensor([one.n_steps for one in learnt]),
            **rest,
        )

    @property
    def label(self) -> str:
        """What kept the tasks, for a person."""
        if self.method not in COMPARED:
            return UNPROTECTED.get(self.method, self.method)
        words = [method_label(self.method), f"λ = {self.strength:g}"]
        if COMPARED[self.method].takes_modes:
            held = self.n_held[:-1].tolist()
            fewer = "" if min(held) == self.n_modes else f" ({', '.join(map(str, held))} held)"
            words += [f"{self.n_modes} modes a task{fewer}"]
            words += [] if self.rank is None else [f"merged to {self.rank}"]
        return ", ".join(words)

    @property
    def stored_over_weights(self) -> float:
        """Numbers that the penalty held at the end, over the number of weights."""
        return float(self.n_stored[-1]) / self.dim

    @property
    def average_error(self) -> float:
        """Mean error of all tasks after the last."""
        return float(self.error[-1].mean())

    @property
    def forgetting(self) -> float:
        """Mean rise of the error of each task from its least one, the last task left out (Chaudhry et al. 2018)."""
        if len(self.tasks) < 2:
            return 0.0
        earlier = self.error[:, :-1]
        learnt = [earlier[task:, task] for task in range(earlier.shape[1])]
        return float(torch.stack([column[-1] - column[:-1].min() for column in learnt]).mean())

    @property
    def backward_transfer(self) -> float:
        """Mean change of each accuracy since its task was learnt, the last left out (Lopez-Paz & Ranzato 2017)."""
        if len(self.tasks) < 2:
            return 0.0
        return float((self.error.diagonal()[:-1] - self.error[-1, :-1]).mean())


def learn_in_turn(
    course: Course,
    method: str,
    *,
    strength: float = math.nan,
    n_modes: int = 200,
    epochs: int | None = None,
    rank: int | None = None,
    watch_every: int = 0,
    told: Told | None = None,
) -> TasksInTurn:
    """Learn all tasks of a course, each with the penalties of those before it.

    Args:
        course: Of two tasks or more; its weights are those after the last one when this is done.
        method: A key of :data:`ablations.COMPARED`; ``"none"``; or ``"joint"``: all tasks so far together.
        strength: lambda.
        n_modes: Directions that each task holds, at most as many as its window has.
        epochs: Longest wait for a training error of zero in each task, before its window; the course's by default.
        rank: Directions that the penalties of all tasks together keep; all by default.
        watch_every: Look at all errors every so many steps; not by default.
        told: Told of each look.

    Returns:
        All errors.

    Raises:
        InputError: If the method is none of these.
    """
    check_choice("method", method, (*UNPROTECTED, *COMPARED))
    earlier: Penalty | None = None
    learnt: list[LearntTask] = []
    looks: list[Look] = []

    def look(number: int, step: int) -> None:
        looks.append((number, step, course.errors()))
        if told is not None:
            told(*looks[-1])

    for number in range(len(course.tasks)):
        data = joined_tasks(course.tasks[: number + 1]).train if method == "joint" else None
        begun = time.perf_counter()
        counted = _Steps(watch_every, functools.partial(look, number))
        finished = course.finish(number, penalty=earlier, data=data, epochs=epochs, after_step=counted)
        seconds = time.perf_counter() - begun
        begun, count = time.perf_counter(), 0
        if method in COMPARED and number + 1 < len(course.tasks):
            own = task_penalty(finished, COMPARED[method], strength, n_modes)
            count = n_directions_of(own, COMPARED[method].n_directions(finished, n_modes))
            earlier = accumulate(earlier, own, rank)
        keeping, stored = time.perf_counter() - begun, 0 if earlier is None else earlier.n_stored
        learnt.append(LearntTask(course.errors(), seconds, keeping, stored, count, counted.taken))
    return TasksInTurn.of(
        learnt, looks, method=method, strength=strength, n_modes=n_modes, rank=rank,
        tasks=tuple(task.name for task in course.tasks), dim=len(course.weights),
        provenance=stamp(seed=course.seed, epochs=epochs),
    )  # fmt: skip


class _Steps:
    """Counts steps, and looks every so many of them (0: never)."""

    def __init__(self, every: int, look: Callable[[int], None]) -> None:
        self.taken, self._every, self._look = 0, every, look

    def __call__(self) -> None:
        self.taken += 1
        if self._every and self.taken % self._every == 0:
            self._look(self.taken)
