"""Results of tasks that were learnt in sequence."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from landscope.memory.report import transfer
from landscope.reproduction.sequential.methods import COMPARED, method_label
from landscope.results import Result

__all__ = ["ContinualResult", "LearntTask", "Observation"]

Observation = tuple[int, int, Tensor]
"""Number of the task that is learnt, steps of it so far, and the errors of all tasks."""


@dataclasses.dataclass(frozen=True)
class LearntTask:
    """The state after one task; the fields are rows of :class:`ContinualResult`."""

    error: Float[Tensor, " tasks"]
    seconds: float
    consolidation_seconds: float
    n_stored: int
    n_held: int
    n_steps: int
    learnt: bool


_COLUMNS = ("seconds", "consolidation_seconds", "n_stored", "n_held", "n_steps", "learnt")


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class ContinualResult(
    Result,
    kind="continual_result",
    dims={
        "error": ("after", "task"), **dict.fromkeys(_COLUMNS, ("after",)),
        "watched_task": ("watched",), "watched_step": ("watched",), "watched_error": ("watched", "task"),
    },
):  # fmt: skip
    """Errors of all tasks, each learnt after the other.

    Args:
        method: Method that keeps the earlier tasks.
        strength: lambda.
        n_modes: Directions asked for.
        rank: Directions that the penalties of all tasks together may keep, or None for all.
        tasks: Names of the tasks.
        error: Error of each task after each task was learnt: the share of wrong answers on its test data, or the mean
            test loss of a token for a language model.
        watched_task: Number of the task that was learnt at each observation in between.
        watched_step: Minibatches of it until then.
        watched_error: The errors.
        seconds: Seconds to learn each task.
        consolidation_seconds: Seconds to make what protects it.
        n_stored: Numbers that the method stores for all tasks so far.
        n_held: Directions that the penalty of each task holds: at most as many as moved and have a flatness.
        n_steps: Minibatches of each task, with its window.
        learnt: Whether each training error was zero when the window began; False where there is no window.
        dim: Number of free weights, N.
    """

    method: str
    strength: float
    n_modes: int
    rank: int | None
    tasks: tuple[str, ...]
    error: Float[Tensor, "after tasks"]
    watched_task: Int[Tensor, " watched"]
    watched_step: Int[Tensor, " watched"]
    watched_error: Float[Tensor, "watched tasks"]
    seconds: Float[Tensor, " after"]
    consolidation_seconds: Float[Tensor, " after"]
    n_stored: Int[Tensor, " after"]
    n_held: Int[Tensor, " after"]
    n_steps: Int[Tensor, " after"]
    learnt: Bool[Tensor, " after"]
    dim: int

    @classmethod
    def of(cls, rows: Sequence[LearntTask], observations: Sequence[Observation] = (), **rest: Any) -> ContinualResult:
        """A result of the state after each task, and of the observations in between."""
        watched = [errors for *_, errors in observations]
        floats = ("seconds", "consolidation_seconds")
        columns: dict[str, Any] = {
            name: torch.tensor([getattr(row, name) for row in rows], dtype=torch.float64 if name in floats else None)
            for name in _COLUMNS
        }
        return cls(
            error=torch.stack([row.error for row in rows]),
            watched_task=torch.tensor([task for task, _, _ in observations], dtype=torch.int64),
            watched_step=torch.tensor([step for _, step, _ in observations], dtype=torch.int64),
            watched_error=torch.stack(watched) if watched else rows[0].error[None][:0],
            **columns,
            **rest,
        )

    def rows(self) -> list[LearntTask]:
        """The state after each task, to go on from."""
        columns = zip(*(getattr(self, name).tolist() for name in _COLUMNS), strict=True)
        return [LearntTask(error, *values) for error, values in zip(self.error, columns, strict=True)]

    @property
    def label(self) -> str:
        """The method and its numbers for a reader."""
        words = [method_label(self.method)]
        if self.method not in COMPARED:
            return words[0]
        words.append(f"λ = {self.strength:g}")
        if COMPARED[self.method].counts == "modes":
            held = self.n_held[:-1].tolist()
            fewer = "" if min(held) == self.n_modes else f" ({', '.join(map(str, held))} held)"
            words += [f"{self.n_modes} modes a task{fewer}"]
            words += [] if self.rank is None else [f"merged to {self.rank}"]
        return ", ".join(words)

    @property
    def stored_over_weights(self) -> float:
        """Numbers stored at the end, over the number of free weights."""
        return float(self.n_stored[-1]) / self.dim

    @property
    def seconds_per_task(self) -> float:
        """Mean seconds to learn a task and to make what protects it."""
        return float((self.seconds + self.consolidation_seconds).mean())

    @property
    def average_accuracy(self) -> float:
        """Mean share of right answers to all tasks after the last, in percent."""
        return 100 * (1 - self.average_error)

    @property
    def average_error(self) -> float:
        """Mean error of all tasks after the last."""
        return transfer.average_error(self.error)

    @property
    def forgetting(self) -> float:
        """Mean rise of the error of each task from its minimum, without the last task (Chaudhry et al. 2018)."""
        return transfer.forgetting(self.error)

    @property
    def backward_transfer(self) -> float:
        """Mean change of each accuracy since its task was learnt, without the last (Lopez-Paz & Ranzato 2017)."""
        return transfer.backward_transfer(self.error)
