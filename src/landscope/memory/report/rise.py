"""How much the loss of each earlier task rose, and which task decides."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from landscope._checks import check_number
from landscope.errors import InputError

__all__ = ["Rise", "RiseOfTasks", "allowed_rise", "losses_by_task"]

_ALL = ""
"""Name of a loss that is one number for all tasks together."""
_TINY = 1e-12
"""A loss below this counts as this."""


@dataclasses.dataclass(frozen=True)
class Rise:
    r"""How much the loss L of earlier tasks rose since the last one ended, as :math:`\ln(L / L_1)`.

    Args:
        predicted: By the penalty: the sum of the rises of all tasks, so none is predicted to rise by more; see
            :meth:`landscope.memory.Basin.predicted_rise`. It is exact near the end of a task alone, where the
            outputs follow the weights to first order. NaN where the penalty predicts none.
        measured: Of the worst task, on its samples; None without any. In a distributed training see
            :attr:`landscope.TaskMemory.rise`.
        allowed: By the budget: of the worst task where it is measured, otherwise of the task that may rise least.
        factor: By how much the strength was multiplied to stay within it.
        task: Name of the worst task: the one that has spent the largest part of what it is allowed. None where the
            losses of single tasks are not measured.
        by_task: The measured rise of each task, by its name.
        why: Why more is allowed than the share of the budget, in words; empty where the share decides.

    Example:
        >>> print(Rise(predicted=0.01, measured=0.04879, allowed=0.1823, factor=1.0, task="old"))
        loss of old +5 % of +20 % allowed
    """

    predicted: float
    measured: float | None
    allowed: float
    factor: float
    task: str | None = None
    by_task: Mapping[str, float] = dataclasses.field(default_factory=dict)
    why: str = ""

    def __str__(self) -> str:
        allowed = f"of {_percent(self.allowed)} allowed" + (f" ({self.why})" if self.why else "")
        if self.measured is None:
            predicted = "not predicted" if math.isnan(self.predicted) else f"{_percent(self.predicted)}, predicted,"
            return f"sum of the rises of all tasks {predicted} {allowed}"
        if self.task is None:
            return f"mean loss {_percent(self.measured)} {allowed}"
        worst = " (the worst task)" if len(self.by_task) > 1 else ""
        return f"loss of {self.task}{worst} {_percent(self.measured)} {allowed}"


@dataclasses.dataclass(frozen=True)
class RiseOfTasks:
    r"""The rise of the loss of each task, :math:`r_k = \ln(L_k / L_{k1})`, and how much of it is allowed.

    Args:
        rises: r_k of each task, by its name.
        allowed: The largest r_k of each task; above 0.

    Example:
        >>> found = RiseOfTasks({"a": 0.2, "b": 0.1}, {"a": 1.0, "b": 0.2})
        >>> found.worst, found.is_within
        ('b', True)
    """

    rises: Mapping[str, float]
    allowed: Mapping[str, float]

    @classmethod
    def between(
        cls, before: Mapping[str, float], now: Mapping[str, float], *, rise: float, absolute: float
    ) -> RiseOfTasks:
        """The rises from the losses at the end of the last task to those now, within a budget."""
        rises = {task: math.log(max(loss, _TINY) / max(before[task], _TINY)) for task, loss in now.items()}
        return cls(rises, {task: allowed_rise(before[task], rise, absolute) for task in now})

    @property
    def worst(self) -> str:
        """The task that has spent the largest part of what it is allowed; of equal ones, that of the least bound."""
        return max(self.rises, key=lambda task: (self.rises[task] / self.allowed[task], -self.allowed[task]))

    @property
    def of_worst(self) -> float:
        """The rise of the worst task."""
        return self.rises[self.worst]

    @property
    def is_within(self) -> bool:
        """Whether no task rose by more than it is allowed."""
        return all(rise <= self.allowed[task] for task, rise in self.rises.items())

    def named(self) -> tuple[str | None, dict[str, float]]:
        """The worst task and all rises by name; nothing where there is one number for all tasks."""
        return (None, {}) if _ALL in self.rises else (self.worst, dict(self.rises))


def allowed_rise(loss1: float, rise: float, absolute: float) -> float:
    """The largest rise of ln L of a task whose loss was L1: by a share, or by an absolute amount.

    Example:
        >>> round(allowed_rise(1.0, 0.05, 0.01), 4), round(allowed_rise(0.01, 0.05, 0.01), 4)
        (0.0488, 0.6931)
    """
    least = 0.0 if math.isnan(loss1) else absolute / max(loss1, _TINY)
    return math.log1p(max(rise, least))


def losses_by_task(found: Any) -> dict[str, float]:
    """What a measurement gave: the loss of each task by its name, or one number for all.

    Raises:
        InputError: If it is neither, or a loss is not finite.
    """
    by_name = {str(name): loss for name, loss in found.items()} if isinstance(found, Mapping) else {_ALL: found}
    numbers = {}
    for name, loss in by_name.items():
        try:
            value = float(loss)
        except (TypeError, ValueError, RuntimeError) as error:
            raise InputError(
                expected='the loss of each task, as {"task 1": 0.2}, or one number', got=type(loss).__name__,
                hint="Let samples=f return one of these.",
            ) from error  # fmt: skip
        numbers[name] = check_number(f"the measured loss of {name}" if name else "the measured loss", value)
    if not numbers:
        raise InputError(
            expected="the loss of at least one task", got="none", hint='Let samples=f return {"task 1": 0.2}.'
        )
    return numbers


def _percent(log_rise: float) -> str:
    """A rise of ln L as a share of L, in percent."""
    share = 100 * math.expm1(min(log_rise, 50.0))
    return f"{share:+,.0f} %" if 1e3 <= share < 1e6 else f"{share:+.3g} %"
