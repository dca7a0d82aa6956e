"""The part of a memory that shows and changes how finished tasks are held."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

from torch import nn

from landscope.errors import InputError
from landscope.memory.budget import Rise
from landscope.memory.held_tasks import HeldTasks
from landscope.protocols import Penalty

__all__ = ["HoldsTasks"]


class HoldsTasks:
    """A memory with finished tasks."""

    model: nn.Module
    implicit: bool
    _tasks: HeldTasks
    _active: contextlib.ExitStack | None

    @property
    def held(self) -> Penalty | None:
        """Penalty V of all consolidated tasks; None before the first."""
        return self._tasks.penalty

    @property
    def n_tasks(self) -> int:
        """Number of consolidated tasks."""
        return self._tasks.n_tasks

    @property
    def strength(self) -> float:
        """Factor lambda of the penalties of all tasks; it may be changed at any time outside of a training."""
        return self._tasks.strength

    @strength.setter
    def strength(self, value: float) -> None:
        self._check_outside("change the strength")
        self._tasks.set_strength(value)

    def budget(
        self,
        rise: float | None = 0.05,
        *,
        absolute: float = 0.01,
        samples: int | Callable[[nn.Module], Any] = 0,
        every: int = 10,
        at_end: bool = False,
    ) -> None:
        """Adapt the strength in training, so that the loss of earlier tasks rises by a share at most.

        Args:
            rise: The share, 0.05 for 5 %; None goes back to the chosen strength.
            absolute: Rise of the loss that is always allowed, for losses near zero.
            samples: Number of samples of each task, from now on, on which the rise is measured; or ``f(model)``, the
                mean loss on samples of earlier tasks. The measurement corrects what the penalty predicts. Without
                samples the rise is predicted alone; far from the end of a task it may be many times as large.
            every: Number of steps between two measurements. Samples are not part of a state.
            at_end: Whether to measure at the end of each training alone. The strength then stays as it is, and at the
                end the weights go back toward the end of the last task, on a straight line, until the measured rise is
                within the budget. It is the better choice where the loss is low along that line, as it is for language
                models; until the end of the training, the weights are over the budget.

        Raises:
            InputError: If the memory is in a training or takes no implicit steps, a number is out of range, or there is
                no measurement and the method predicts no rise or ``at_end`` is asked for.
        """
        self._check_outside("change the budget")
        if not self.implicit:
            raise InputError(
                expected="implicit steps, whose strength can be adapted", got="implicit=False",
                hint="Make the memory without implicit=False.",
            )  # fmt: skip
        self._tasks.set_budget(rise, absolute, samples, every, at_end, self.model)

    @property
    def rise(self) -> Rise | None:
        """How much the loss of earlier tasks rose since the last one ended; None without a budget."""
        return self._tasks.rise()

    def _check_outside(self, what: str) -> None:
        if self._active is not None:
            raise InputError(
                expected="a memory outside of a training", got="a memory in a training",
                hint=f"First leave `with memory.training(...)`, then {what}.",
            )  # fmt: skip

    @property
    def n_stored(self) -> int:
        """Number of values stored for earlier tasks."""
        return 0 if self.held is None else self.held.n_stored
